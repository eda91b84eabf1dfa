"""Live pages: the parts of a page that changed, sent as they change.

A browser asks for the same address with `Accept: text/event-stream`. The page is shown again and
again meanwhile, quickly while it changes, and what differs from the last time is sent.
"""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.requests import Request
from starlette.responses import StreamingResponse

QUICK = 0.7
"""Seconds between two looks while something happens."""
SLOW = 3.0
"""Seconds between two looks at what has been still."""
STREAM_SECONDS = 120.0
"""Then the browser connects anew, and who looks is asked for again."""

LAST = ""
"""Stands among the parts when nothing will change any more."""

_IDLE_SHARE = 10
"""A look is followed by so many times what it took: thousands of spans keep no server busy."""
_TICK = 0.1
_RELATIVE = re.compile(r"(<time\b[^>]*>)[^<]*")  # browsers count those themselves

Look = Callable[[], Awaitable[dict[str, str] | None]]
"""Returns the live parts by id; None: nothing will change any more."""


def wants(request: Request) -> bool:
    """Return whether a browser asks to be told of changes."""
    return "text/event-stream" in request.headers.get("accept", "")


def stream(look: Look, is_stopping: Callable[[], bool]) -> StreamingResponse:
    """Return the answer that goes on for as long as somebody looks."""
    return StreamingResponse(
        _events(look, is_stopping),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _events(look: Look, is_stopping: Callable[[], bool]) -> AsyncIterator[str]:
    seen: dict[str, bytes] = {}
    pause = QUICK
    until = time.monotonic() + STREAM_SECONDS
    yield "retry: 1000\n\n"
    while time.monotonic() < until:
        began = time.monotonic()
        parts = await look()
        took = time.monotonic() - began
        is_last = parts is None or parts.pop(LAST, None) is not None
        parts = parts or {}
        changed = {name: text for name, text in parts.items() if seen.get(name) != _digest(text)}
        for name, text in changed.items():
            seen[name] = _digest(text)
            yield f"event: part\ndata: {json.dumps({'id': name, 'html': text})}\n\n"
        if is_last:
            yield "event: end\ndata: {}\n\n"
            return
        if not changed:
            yield ": still\n\n"  # finds out that nobody listens
        pause = QUICK if changed else min(SLOW, pause * 1.3)
        wake = time.monotonic() + max(pause, _IDLE_SHARE * took)
        while time.monotonic() < wake:
            if is_stopping():
                return
            await asyncio.sleep(_TICK)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(_RELATIVE.sub(r"\1", text).encode(), digest_size=16).digest()
