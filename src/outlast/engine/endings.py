"""How attempts end, as items of a turn: what a worker says of it, or what we make of it."""

import msgspec

from outlast import backoff
from outlast.engine.sessions import Holding
from outlast.engine.turn import Ending
from outlast.protocol import messages
from outlast.protocol.frames import Frame
from outlast.protocol.manifests import RetryPolicy
from outlast.protocol.outcomes import RunError
from outlast.protocol.statuses import Status
from outlast.protocol.triggers import Refusal

_STATUS = {
    "aborted": Status.FAILED,
    "raised": Status.FAILED,
    "payload": Status.FAILED,
    "output": Status.FAILED,
    "crashed": Status.CRASHED,
    "out_of_memory": Status.CRASHED,
    "timed_out": Status.TIMED_OUT,
    "canceled": Status.CANCELED,
    "expired": Status.EXPIRED,
    "replay": Status.WAITING,  # parked until a version fits
    "system": Status.SYSTEM_FAILURE,
}
_policies = msgspec.json.Decoder(RetryPolicy)


def failed(item: Frame) -> Ending:
    """Return the end that a FAIL frame tells of."""
    fail = msgspec.msgpack.decode(item.body, type=messages.Fail)
    again = fail.retry_in is not None
    return Ending(
        run=item.run,
        token=item.token,
        status="retrying" if again else _STATUS[fail.error.kind].value,
        error=_json(fail.error),
        retry_in=fail.retry_in,
        forget=fail.forgotten,
        machine=fail.machine,
    )


def blamed(held: messages.Held, error: RunError, holding: Holding | None) -> Ending:
    """Fail the attempt of the run that took its process along; its policy says what follows."""
    again = None
    if holding is not None:
        policy = _policies.decode(holding.retry)
        again = backoff.after(
            policy, holding.attempt - holding.earlier_attempts, error, holding.machine
        )
    return Ending(
        run=held.run,
        token=held.token,
        status=_STATUS[error.kind].value if again is None else "retrying",
        error=_json(error),
        retry_in=None if again is None else again.delay,
        machine=None if again is None else again.machine,
    )


def ended_by_us(item: Frame, reason: RunError) -> Ending:
    """Return the end of a run whose frame cannot be applied."""
    return Ending(run=item.run, token=item.token, status="system_failure", error=_json(reason))


def unfit(item: Frame, refusal: Refusal) -> Ending:
    """Return the end of a run that would begin again with a payload that is not taken."""
    reason = RunError("payload", "PayloadError", f"it cannot begin again: {refusal.message}")
    return Ending(run=item.run, token=item.token, status="failed", error=_json(reason))


def _json(error: RunError) -> str:
    return msgspec.json.encode(error).decode()
