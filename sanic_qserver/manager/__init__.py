"""RE Manager over 0MQ: the only folder that knows 0MQ."""
