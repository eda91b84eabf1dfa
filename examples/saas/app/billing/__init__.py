"""Money: the payment provider, what it tells us, and what we make of it."""
