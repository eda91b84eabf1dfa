"""What user code imports: tasks, queues, steps, waits, metadata and errors."""
