"""How many runs a queue may hold: a trigger beyond that is refused, so that nothing grows unseen.

The depth is read once a second and server, and what was admitted since is added. A burst over
several servers may therefore overshoot by what they admit within that second.
"""

import msgspec

from outlast.engine.database import Database
from outlast.engine.expiring import Expiring
from outlast.engine.payloads import Unfit
from outlast.engine.queries import load
from outlast.protocol.triggers import Refusal, Trigger

QUEUES = load("queues")

_SECONDS = 1.0
_MOST_QUEUES = 10_000


class _Depth(msgspec.Struct):
    queued: int
    most: int


class Backlog:
    """Depths of queues against their limits."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._depths: Expiring[tuple[str, str], _Depth] = Expiring(_SECONDS, _MOST_QUEUES)

    async def require_room(self, environment_id: str, queue: str, trigger: Trigger) -> None:
        """Count a trigger in. Raises `Unfit` when its queue is full."""
        depth = self._depths.get((environment_id, queue))
        if depth is None:
            depth = await self._database.fetch_one(
                _Depth, QUEUES.find_depth, environment_id=environment_id, name=queue
            )
            if depth is None:
                return  # the turn makes the queue
            self._depths.put((environment_id, queue), depth)
        if depth.queued >= depth.most:
            raise Unfit(
                Refusal(
                    422,
                    "queue_full",
                    f"queue {queue!r} holds {depth.most:,} runs, which is its limit; wait until "
                    "some have started, or raise max_queued where it is declared",
                    "queue",
                )
            )
        if trigger.idempotency_key is None and trigger.debounce is None:  # these may make no run
            depth.queued += 1
