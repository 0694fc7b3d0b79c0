"""Who is asking: credentials in, principals out."""
