"""Mail: its templates and its sending."""
