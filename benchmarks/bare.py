"""A Sanic handler that does nothing but answer 1 kB of JSON: what the framework alone reaches on this machine."""

import sys

from sanic import HTTPResponse, Request, Sanic

BODY = b'{"msg": "' + b"x" * 1000 + b'"}'
app = Sanic("bare", configure_logging=False)
app.config.ACCESS_LOG = False
app.config.MOTD = False
app.config.AUTO_EXTEND = False  # sanic-ext costs something even when nothing uses it.


@app.get("/api/status")
async def status(_: Request) -> HTTPResponse:
    return HTTPResponse(BODY, content_type="application/json")


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]), single_process=True, access_log=False, motd=False)
