"""Programs for the people who run the app."""
