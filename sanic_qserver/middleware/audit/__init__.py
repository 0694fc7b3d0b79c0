"""The audit trail: what is recorded of a call, and where it goes."""
