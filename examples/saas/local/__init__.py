"""What stands in for production on one machine: processes, mailbox, output."""
