"""Selectors: order and take."""
