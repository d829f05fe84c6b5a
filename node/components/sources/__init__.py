"""Sources: request to candidates."""
