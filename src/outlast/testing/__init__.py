"""For tests of user code: a fake clock, an engine in the process, assertions."""
