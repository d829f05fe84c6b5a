"""Filters: what is dropped, and why."""
