"""Data at rest: epochs, records, columns, matrices, lists, and the builders that make them."""
