"""Tokens lent to workers, so that runs call the API without the environment's key."""

import time
from collections.abc import Callable

from outlast.engine.errors import EngineError
from outlast.engine.keys import Keys
from outlast.engine.tenancy import Environment
from outlast.engine.tokens import Tokens

LENT_SECONDS = 3600.0
RENEW_SECONDS = 1200.0
"""A worker that cannot be reached for 40 minutes does not leave its runs without a token."""
SCOPES = ("read:all", "write:all")
"""A task acts on its whole environment; it makes no keys and connects no workers."""


class Access:
    """Mints a token for each worker session, and a new one in time."""

    def __init__(
        self, tokens: Tokens, keys: Keys, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tokens = tokens
        self._clock = clock
        self._lent: dict[str, tuple[str, float]] = {}  # session -> environment, when
        keys.on_change(self._forget)

    async def lend(self, environment: Environment, session: str) -> str:
        """Return a token for the runs of a session; empty when the environment cannot sign one."""
        try:
            token = await self._tokens.mint(
                environment, SCOPES, seconds=LENT_SECONDS, worker=session
            )
        except EngineError:  # no root key, or none that can be decrypted: runs go on without
            return ""
        self._lent[session] = (environment.id, self._clock())
        return token

    def is_due(self, session: str) -> bool:
        """Return whether the session needs a new token."""
        lent = self._lent.get(session)
        return lent is None or self._clock() - lent[1] >= RENEW_SECONDS

    def end(self, session: str) -> None:
        """Forget a session."""
        self._lent.pop(session, None)

    def _forget(self, environment_id: str) -> None:
        """Lend anew after a change of keys: the one that signed may be gone."""
        for session in [one for one, lent in self._lent.items() if lent[0] == environment_id]:
            del self._lent[session]
