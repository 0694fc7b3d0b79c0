"""What recognises credentials, one module a kind."""
