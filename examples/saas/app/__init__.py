"""The app itself: what a request and a task share. Tasks live in `trigger/`, beside it."""
