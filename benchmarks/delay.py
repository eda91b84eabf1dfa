"""A network between a server and PostgreSQL: a proxy process that delays each direction.

Started as `python -m benchmarks.delay LISTEN TARGET SECONDS`: the path of a Unix socket, and the
path of another one or `host:port`.
"""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

_CHUNK = 1 << 18
_PORT = "5432"
_SOCKET = f".s.PGSQL.{_PORT}"


@contextmanager
def delayed(url: str, folder: Path, seconds: float) -> Iterator[str]:
    """Yield the URL of the same database, `seconds` further away in each direction."""
    target = _target(url)
    listen = folder / _SOCKET
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.delay", str(listen), target, str(seconds)]
    )
    try:
        while not listen.exists():
            time.sleep(0.01)
        parts = urlsplit(url)
        user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        yield urlunsplit(
            (parts.scheme, user, parts.path, urlencode({"host": str(folder), "port": _PORT}), "")
        )
    finally:
        process.kill()
        process.wait()


def _target(url: str) -> str:
    """Return where PostgreSQL listens: the path of its Unix socket, or host and port."""
    parts = urlsplit(url)
    asked = parse_qs(parts.query)
    port = parts.port or int(asked.get("port", [_PORT])[0])
    host = asked.get("host", [parts.hostname or "127.0.0.1"])[0]
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else f"{host}:{port}"


def _serve(listen: str, target: str, seconds: float) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(listen)
        listener.listen(100)
        while True:
            near, _ = listener.accept()
            far = _reached(target)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_carry, args=(source, sink, seconds), daemon=True).start()


def _reached(target: str) -> socket.socket:
    if not target.startswith("/"):
        host, _, port = target.rpartition(":")
        return socket.create_connection((host, int(port)))
    reached = socket.socket(socket.AF_UNIX)
    reached.connect(target)
    return reached


def _carry(source: socket.socket, sink: socket.socket, seconds: float) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            time.sleep(seconds)
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], float(sys.argv[3]))
