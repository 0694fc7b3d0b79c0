"""What stays open: streams over HTTP and websockets."""
