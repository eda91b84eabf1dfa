"""Ctrl-C and SIGTERM: the first asks for an end, the second demands it."""

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from outlast.cli.terminal import say


@contextmanager
def stop_signals(draining: str, *, kill: asyncio.Event | None = None) -> Iterator[asyncio.Event]:
    """Give an event that the first signal sets, after saying `draining`.

    The second one sets `kill`, or cancels the task when there is no such event; so does a third.
    """
    stop = asyncio.Event()
    main = asyncio.current_task()
    loop = asyncio.get_running_loop()
    assert main is not None

    def ask() -> None:
        if not stop.is_set():
            say(draining, style="dim")
            stop.set()
        elif kill is not None and not kill.is_set():
            kill.set()
        else:
            main.cancel()

    if sys.platform == "win32":
        yield stop  # the runner turns Ctrl-C into a cancellation there
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, ask)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
