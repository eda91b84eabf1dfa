"""The typed HTTP client: pure requests and replies, and two executors that send them."""
