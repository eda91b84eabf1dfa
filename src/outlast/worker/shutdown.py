"""Stop on a signal: the first one drains, the second one kills."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def stopping_on_signals(stop: asyncio.Event, kill: asyncio.Event) -> Iterator[None]:
    """Set `stop` on the first SIGTERM or SIGINT and `kill` on any further one."""
    loop = asyncio.get_running_loop()

    def received() -> None:
        (kill if stop.is_set() else stop).set()

    signals = (signal.SIGTERM, signal.SIGINT)
    for each in signals:
        loop.add_signal_handler(each, received)
    try:
        yield
    finally:
        for each in signals:
            loop.remove_signal_handler(each)
