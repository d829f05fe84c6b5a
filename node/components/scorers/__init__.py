"""Scorers: a column of scores."""
