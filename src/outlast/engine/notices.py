"""Hints between servers: NOTIFY names environments with work; a poll per second is the net.

Nothing depends on a hint: everything works with NOTIFY lost or behind a transaction pooler.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from outlast.engine.database import Database
from outlast.engine.errors import EngineError
from outlast.engine.liveness import SESSIONS

logger = logging.getLogger(__name__)

CHANNEL = "outlast"
_PACE_SECONDS = 0.005
_RETRY_SECONDS = 1.0
_KEYS = "keys:"
_MOST_BYTES = 7_500  # a payload holds 8,000


class Notices:
    """Tells other servers, and hears them."""

    def __init__(
        self,
        database: Database,
        *,
        server: str,
        heard: Callable[[str], None],
        keys_changed: Callable[[str], None],
    ) -> None:
        self._database = database
        self._server = server
        self._heard = heard
        self._keys_changed = keys_changed
        self._environments: set[str] = set()
        self._sender: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen, if the database lets us: a pooler does not."""
        if not self._database.settings.pooler:
            self._listener = asyncio.create_task(self._listen(), name="listener")

    async def close(self) -> None:
        """Stop listening and telling."""
        for task in (self._sender, self._listener):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def tell(self, environment: str) -> None:
        """Name an environment that has work for others; sent after the commit, outside the turn."""
        self._environments.add(environment)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send(), name="notifier")

    async def _send(self) -> None:
        try:
            while self._environments:
                names, self._environments = self._environments, set()
                payload = " ".join([self._server, *sorted(names)])
                if len(payload) > _MOST_BYTES:
                    payload = self._server  # too many to name: ask
                with contextlib.suppress(EngineError):  # only a hint: the poll finds it too
                    await self._database.execute(SESSIONS.notify, payload=payload)
                await asyncio.sleep(_PACE_SECONDS)
        finally:
            self._sender = None

    async def _listen(self) -> None:
        while True:
            try:
                connection = await self._database.connect()
            except EngineError:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            gone = asyncio.Event()
            connection.add_termination_listener(lambda _, gone=gone: gone.set())
            try:
                await connection.add_listener(CHANNEL, self._notified)
                await gone.wait()
            except OSError:
                logger.info("listening again")
            finally:
                with contextlib.suppress(Exception):
                    await connection.close(timeout=1)
            await asyncio.sleep(_RETRY_SECONDS)

    def _notified(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        sender, *environments = str(payload).split(" ")
        if sender == self._server:
            return
        for environment in environments:
            if environment.startswith(_KEYS):  # said by the statement that changed them
                self._keys_changed(environment.removeprefix(_KEYS))
            else:
                self._heard(environment)
