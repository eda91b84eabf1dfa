"""Run frames that no server has acknowledged: what a reconnect sends again."""

import asyncio
from collections.abc import Iterator

from outlast.protocol.frames import Frame

_OVERHEAD = 100  # bytes of a frame besides its body, roughly


class Outbox:
    """Unacknowledged frames, per run in the order sent."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[tuple[int, int], Frame]] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self.size = 0
        """Bytes held, roughly."""

    def add(self, frame: Frame) -> None:
        """Keep a frame until its number is acknowledged."""
        held = self._runs.get(frame.run)
        if held is None:
            if not self._runs:
                self._empty.clear()
            held = self._runs[frame.run] = {}
        key = (frame.token, frame.number)
        if key not in held:
            self.size += len(frame.body) + _OVERHEAD
            held[key] = frame

    def acknowledge(self, run: str, token: int, number: int) -> Frame | None:
        """Return the frame that was acknowledged and forget it; None when it is not waited for."""
        held = self._runs.get(run)
        if held is None or (frame := held.pop((token, number), None)) is None:
            return None
        self.size -= len(frame.body) + _OVERHEAD
        if not held:
            del self._runs[run]
        if not self._runs:
            self._empty.set()
        return frame

    def forget(self, run: str, token: int) -> None:
        """Drop what a run said under this token or an earlier one: nobody wants it any more."""
        for said, number in list(self._runs.get(run, ())):
            if said <= token:
                self.acknowledge(run, said, number)

    def last(self, run: str, token: int) -> Frame | None:
        """Return the newest frame that a run's executor numbered and that still waits."""
        waiting = [
            frame
            for frame in self._runs.get(run, {}).values()
            if frame.token == token and frame.number > 0
        ]
        return waiting[-1] if waiting else None

    async def emptied(self) -> None:
        """Wait until everything is acknowledged."""
        await self._empty.wait()

    def __iter__(self) -> Iterator[Frame]:
        for held in self._runs.values():
            yield from held.values()

    def __len__(self) -> int:
        return sum(map(len, self._runs.values()))

    def __bool__(self) -> bool:
        return bool(self._runs)
