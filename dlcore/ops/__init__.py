"""The table: one row per operation, one module per family."""
