"""`python -m sanic_qserver` is the command `sanic-qserver`."""

from sanic_qserver.cli import main

if __name__ == "__main__":
    main()
