"""Paying money back: asked for by a member, decided by an owner, done once."""
