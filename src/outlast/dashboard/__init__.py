"""Pages for people: server-rendered, read-only so far, a customer of the public API."""
