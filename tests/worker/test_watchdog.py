"""A blocked loop is named, and ended when it stays blocked."""

import asyncio
import logging
import threading
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from outlast.protocol.frames import Frame, Kind
from outlast.protocol.messages import Crash
from outlast.worker import watchdog
from outlast.worker.watchdog import BLOCKED_STATUS, Watchdog


class Pipe:
    def __init__(self) -> None:
        self.sent: list[Frame] = []

    def send_now(self, *frames: Frame) -> None:
        self.sent += frames


async def test_a_loop_that_stays_blocked_ends_its_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    statuses: list[int] = []
    ended = threading.Event()

    def end(status: int) -> None:
        statuses.append(status)
        ended.set()

    monkeypatch.setattr(watchdog, "os", SimpleNamespace(_exit=end))
    pipe, executor = Pipe(), SimpleNamespace(runs={})
    loop = asyncio.get_running_loop()
    dog = Watchdog(executor, loop, pipe, threading.get_ident(), slow=0.05, fatal=0.2)
    dog.start()
    assert ended.wait(10)  # blocks the loop: the very thing it is to see
    assert statuses[0] == BLOCKED_STATUS
    assert "test_watchdog.py" in caplog.text
    told = pipe.sent[0]
    assert told.kind == Kind.CRASH
    crash: Any = msgspec.msgpack.decode(told.body, type=Crash)
    assert crash.guilty is None
    assert "test_watchdog.py" in crash.error.message
