"""Other people's implementations, each behind a module with functions named like rows of the operations table."""
