"""Sanic's protocol, request and response, with what this server adds."""
