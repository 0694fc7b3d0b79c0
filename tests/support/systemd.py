"""In systemd's place: the socket that a server tells its state to, and servers with a passed socket."""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading


class Systemd:
    """The socket that a server tells its state to."""

    def __init__(self, folder):
        self.path = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self.environment = {"NOTIFY_SOCKET": self.path}
        self._heard = queue.Queue()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self):
        while message := self._socket.recv(4096):
            self._heard.put(message.decode())

    def hear(self, timeout_s=60):
        """The next message, "" when none comes."""
        try:
            return self._heard.get(timeout=timeout_s) if timeout_s else self._heard.get_nowait()
        except queue.Empty:
            return ""

    def hear_all(self):
        """What has come so far."""
        return list(iter(lambda: self.hear(0), ""))

    def wait_for(self, message):
        """The messages until this one, which must come."""
        heard = []
        while not heard or heard[-1] != message:
            heard.append(self.hear())
            assert heard[-1], heard
        return heard

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.path)
        self._thread.join()
        self._socket.close()


@contextlib.contextmanager
def serving(listener, folder, environment, *arguments):
    """A server with a passed socket, as systemd passes it; ends it in order."""
    command = " ".join(["serve", *map(str, arguments)])
    script = f'exec env LISTEN_PID=$$ LISTEN_FDS=1 "$0" -m sanic_qserver {command} 3<&{listener.fileno()}'
    log = folder / "passed.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["/bin/bash", "-c", script, sys.executable],
            stdout=output,
            stderr=output,
            cwd=folder,
            env={**os.environ, **environment},
            pass_fds=(listener.fileno(),),
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
