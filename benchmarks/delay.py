"""A network between a server and PostgreSQL: a proxy process that delays each direction.

Started as `python -m benchmarks.delay LISTEN TARGET SECONDS` with the paths of two Unix sockets.
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
from urllib.parse import parse_qs, quote, urlsplit

_CHUNK = 1 << 18
_SOCKET = ".s.PGSQL.5432"


@contextmanager
def delayed(url: str, folder: Path, seconds: float) -> Iterator[str]:
    """Yield the URL of the same database, `seconds` further away in each direction."""
    [target] = parse_qs(urlsplit(url).query)["host"]
    [port] = parse_qs(urlsplit(url).query).get("port", ["5432"])
    listen = folder / _SOCKET
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.delay"),
            *(str(listen), f"{target}/.s.PGSQL.{port}", str(seconds)),
        ]
    )
    try:
        while not listen.exists():
            time.sleep(0.01)
        yield url.replace(quote(target, safe=""), quote(str(folder), safe=""))
    finally:
        process.kill()
        process.wait()


def _serve(listen: str, target: str, seconds: float) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(listen)
        listener.listen(100)
        while True:
            near, _ = listener.accept()
            far = socket.socket(socket.AF_UNIX)
            far.connect(target)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_carry, args=(source, sink, seconds), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket, seconds: float) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            time.sleep(seconds)
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], float(sys.argv[3]))
