"""Shapes of what comes in, what goes out, and who is asking. No behaviour."""
