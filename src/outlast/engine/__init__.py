"""The truth: every transition of a run, over PostgreSQL; knows no HTTP and no user code."""
