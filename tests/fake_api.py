"""A server that answers as a test tells it to, and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from outlast.client import clients
from outlast.protocol.triggers import Trigger, Triggered


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def triggers(self) -> list[Trigger]:
        return msgspec.json.decode(self.body, type=list[Trigger])


Answer = tuple[int, dict[str, str], bytes]


@dataclass
class FakeServer:
    """`answer` decides; `asked` is the record."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], Answer] = lambda asked: (404, {}, b'{"error":"nothing here"}')
    arrived: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def accept_triggers(self) -> None:
        """Answer every coalesced request with made-up run ids, named after the payload."""

        def answer(asked: Asked) -> Answer:
            made = [Triggered(run_id=f"run_{one.payload}") for one in asked.triggers()]
            return 200, {"x-trigger-jwt-claims": '{"sub":"env_1","pub":true}'}, encode(made)

        self.answer = answer


def encode(made: list[Triggered]) -> bytes:
    return msgspec.json.encode(made)


def handler(fake: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, body)
            with fake.lock:
                fake.asked.append(asked)
            fake.arrived.set()
            status, extra, content = fake.answer(asked)
            try:
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = handle_one  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    return Handler


@contextmanager
def running_fake() -> Iterator[FakeServer]:
    """Run a fake server on a free port."""
    fake = FakeServer()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(fake))
    http.daemon_threads = True
    http.block_on_close = False
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield fake
    finally:
        clients._close_blocking()  # they keep a connection to every server there was
        http.shutdown()
        http.server_close()
        thread.join(5)
