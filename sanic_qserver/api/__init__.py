"""The rows of the table, and what serves those that are more than "forward"."""
