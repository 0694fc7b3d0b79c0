"""Who may do what, and how often: decisions read from YAML."""
