"""`Idempotency-Key`: a call that is sent again is not done again."""
