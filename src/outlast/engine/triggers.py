"""Runs made for callers: admitted, then created by the environment's next turn."""

from collections.abc import Sequence

import msgspec

from outlast.engine.admission import Admission
from outlast.engine.cycles import Cycles
from outlast.engine.errors import EngineError, NotFound, Overloaded, Unavailable
from outlast.engine.packets import STORED, Packets
from outlast.engine.tenancy import Environment, Tenancy
from outlast.engine.tokens import USED_ALREADY, Token
from outlast.engine.turn import NewRun, Telling
from outlast.protocol.triggers import Refusal, Trigger, Triggered


class Triggers:
    """Turns triggers into runs. Each item has its own answer."""

    def __init__(
        self, *, admission: Admission, packets: Packets, tenancy: Tenancy, cycles: Cycles
    ) -> None:
        self._admission = admission
        self._packets = packets
        self._tenancy = tenancy
        self._cycles = cycles

    async def trigger(
        self,
        environment: Environment,
        triggers: Sequence[Trigger],
        *,
        spend: Token | None = None,
    ) -> list[Triggered]:
        """Create runs and return when they are on disk.

        A one-time token is used up in the same commit; what comes too late with it is refused.
        """
        admitted = await self.admit(environment, triggers)
        if spend is not None and spend.one_time:
            admitted = [_spending(one, spend) for one in admitted]
        return await self.create(environment.id, admitted)

    async def admit(
        self, environment: Environment, triggers: Sequence[Trigger]
    ) -> list[NewRun | Refusal]:
        """Check triggers against the catalogue; nothing is created."""
        if not any(one.payload_type == STORED for one in triggers):
            return await self._admission.admit(environment, triggers)
        opened = await self._packets.opened(environment.id, triggers)
        admitted = iter(
            await self._admission.admit(
                environment, [one for one in opened if isinstance(one, Trigger)]
            )
        )
        return [one if isinstance(one, Refusal) else next(admitted) for one in opened]

    async def admit_by_id(
        self, environment: str, triggers: Sequence[Trigger]
    ) -> list[NewRun | Refusal]:
        """Check triggers of an environment known by its id. Raises `NotFound`."""
        found = await self._tenancy.environment_by_id(environment)
        if found is None:
            raise NotFound(f"there is no environment {environment!r}")
        return await self.admit(found, triggers)

    async def create(
        self, environment: str, admitted: Sequence[NewRun | Refusal]
    ) -> list[Triggered]:
        """Create what was admitted in the next turn; refusals keep their place."""
        answers = await self._cycles.of(environment).ask_all(
            [one for one in admitted if isinstance(one, NewRun)]
        )
        rest = iter(answers)
        return [
            Triggered(error=one) if isinstance(one, Refusal) else _triggered(next(rest))
            for one in admitted
        ]


def _triggered(answer: list[Telling] | EngineError) -> Triggered:
    if isinstance(answer, Unavailable | Overloaded):
        raise answer  # nothing is decided: the caller repeats the request under its key
    if isinstance(answer, EngineError):
        return Triggered(error=Refusal(422, answer.code, str(answer)))
    if answer[0].data == "spent":
        return Triggered(error=Refusal(422, "token_used", USED_ALREADY))
    return Triggered(answer[0].run or "", is_cached=answer[0].data == "true")


def _spending(admitted: NewRun | Refusal, token: Token) -> NewRun | Refusal:
    if isinstance(admitted, Refusal):
        return admitted
    return msgspec.structs.replace(admitted, spend=token.digest.hex(), spend_until=token.expires_at)
