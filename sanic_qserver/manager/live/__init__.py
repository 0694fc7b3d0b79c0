"""What is live: events, status, console, and who is subscribed."""
