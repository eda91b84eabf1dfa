"""The invoice export: starting it, its file, and closing it."""
