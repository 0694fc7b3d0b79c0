"""The operator's page: serves the files of `static/`, which use nothing but public calls of the API."""
