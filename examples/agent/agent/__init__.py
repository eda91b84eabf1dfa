"""What the agent's tasks are made of."""
