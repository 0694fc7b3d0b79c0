"""The configuration: every setting, those of logins, and files of bluesky-httpserver."""
