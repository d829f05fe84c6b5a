"""Hydrators: feature columns for the candidates."""
