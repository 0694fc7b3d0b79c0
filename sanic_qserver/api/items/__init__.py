"""The life of an item: what may be sent, whether it would be accepted, and what became of it."""
