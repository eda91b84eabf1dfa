"""What Outlast tells about itself; nothing here is needed for a run to go right."""
