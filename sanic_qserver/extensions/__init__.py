"""Custom modules: found, imported, registered, contained. What they may use stands in `extension_api`."""
