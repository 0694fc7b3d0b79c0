"""What replicas have in common, in a Redis. Alone, a server has the twin of each part in its own memory."""
