"""The edge: the only folder, with `app`, that knows Sanic."""
