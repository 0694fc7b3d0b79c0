"""Finds, imports, registers and isolates extensions. What they may use is in `extension_api`."""
