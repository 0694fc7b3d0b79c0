"""Policy files: read, watched, hot reloaded."""
