"""Realtime feeds: what a request asks for, what its rows look like, how long it is held."""
