"""nginx with TLS in front of a server, under a path prefix."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import httpx
from certificates import make_certificate
from ports import free_port

PREFIX = "/beamline/queue"
_CONFIG = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{}}
http {{
  access_log off; client_max_body_size 0;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    location {prefix}/ {{
      proxy_pass http://127.0.0.1:{upstream}/; proxy_http_version 1.1; proxy_set_header Host $http_host;
      proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 120s;
    }}
  }}
}}
"""


class Proxy:
    """nginx in front of a port. A context manager; can be stopped and started again at the same address."""

    def __init__(self, folder: Path, upstream: int):
        self.folder, self.port = folder, free_port()
        self.ca_file = make_certificate(folder)
        self.origin = f"https://127.0.0.1:{self.port}"
        self.url = self.origin + PREFIX
        user = "user root;" if os.geteuid() == 0 else ""
        text = _CONFIG.format(folder=folder, port=self.port, upstream=upstream, prefix=PREFIX, user=user)
        (folder / "nginx.conf").write_text(text)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        command = [program, "-p", str(self.folder), "-e", f"{self.folder}/error.log", "-c", f"{self.folder}/nginx.conf"]
        self.process = subprocess.Popen(command)
        until = time.monotonic() + 30
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "error.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return bool(httpx.get(self.origin, verify=False).status_code)
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """End it at once, with all connections through it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def __enter__(self) -> "Proxy":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
