"""`sanic-qserver doctor`: looks at a deployment from outside in, and says what to do."""
