"""What the server itself issues: sessions, API keys, tickets."""
