"""A call of a task as an item of a turn: its entry, and the runs it creates."""

from collections.abc import Callable, Sequence

import msgspec

from outlast.engine.errors import InvalidRequest, NotFound
from outlast.engine.sessions import Holding
from outlast.engine.turn import Called, NewCall, NewRun
from outlast.protocol import messages
from outlast.protocol.frames import Frame
from outlast.protocol.ids import Prefix
from outlast.protocol.outcomes import Outcome, RunError
from outlast.protocol.triggers import Refusal

_FUNCTIONS = {"child": "triggerAndWait", "batch": "batchTriggerAndWait", "trigger": "trigger"}


def make_call(
    item: Frame,
    call: messages.Call,
    admitted: Sequence[NewRun | Refusal],
    holding: Holding,
    *,
    new_id: Callable[[Prefix], str],
    outcome: Outcome | None = None,
) -> Called:
    """Return the item for a CALL frame whose runs have been admitted or refused.

    `outcome` is that of an entry which is finished when it is made.
    """
    batch = new_id("batch") if call.kind == "batch" or call.is_batch else None
    tasks = tuple(one.task for one in call.items)
    refusals = {str(i): r for i, r in enumerate(admitted) if isinstance(r, Refusal)}
    runs = tuple(
        msgspec.structs.replace(
            run,
            item=i,
            parent=item.run,
            root=holding.root or item.run,
            depth=holding.depth + 1,
            batch=batch,
            trigger_function="batchTrigger" if call.is_batch else _FUNCTIONS[call.kind],
        )
        for i, run in enumerate(admitted)
        if isinstance(run, NewRun)
    )
    if call.kind == "child" and refusals:
        error = RunError(kind="raised", type="TriggerRefused", message=refusals["0"].message)
        outcome = Outcome(False, error=error, task=call.name)
    made = NewCall(
        run=item.run,
        token=item.token,
        key=call.key,
        kind=call.kind,
        name=call.items[0].task if call.items else call.name,
        attempt=holding.attempt,
        position=call.position,
        arguments=call.arguments,
        preview=call.preview,
        seconds=call.seconds,
        until=call.until,
        timeout=call.timeout,
        batch=batch,
        size=len(call.items),
        tasks=tasks if len(set(tasks)) > 1 else None,
        outcome=None if outcome is None else msgspec.json.encode(outcome).decode(),
        refusals=msgspec.json.encode(refusals).decode(),
        target=call.target,
        idempotency_key=call.idempotency_key,
        idempotency_ttl=call.idempotency_key_ttl,
    )
    return Called(call=made, runs=runs)


def refusal_of(error: InvalidRequest | NotFound) -> Refusal:
    """Return why a call is not made, as its code is told."""
    if isinstance(error, InvalidRequest):
        return Refusal(422, error.code, str(error), error.param)
    return Refusal(404, error.code, str(error))
