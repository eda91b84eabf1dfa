"""Pure data that crosses a wire or a process border; imports nothing else of Outlast."""
