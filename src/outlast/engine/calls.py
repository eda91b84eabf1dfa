"""A call of a task as an item of a turn: its entry, and the runs it creates."""

from collections.abc import Callable, Sequence

import msgspec

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
) -> Called:
    """Return the item for a CALL frame whose runs have been admitted or refused."""
    batch = new_id("batch") if call.kind == "batch" else None
    refusals = {str(i): r for i, r in enumerate(admitted) if isinstance(r, Refusal)}
    runs = tuple(
        msgspec.structs.replace(
            run,
            item=i,
            parent=item.run,
            root=holding.root or item.run,
            depth=holding.depth + 1,
            batch=batch,
            trigger_function=_FUNCTIONS[call.kind],
        )
        for i, run in enumerate(admitted)
        if isinstance(run, NewRun)
    )
    outcome = None
    if call.kind == "child" and refusals:
        error = RunError(kind="raised", type="TriggerRefused", message=refusals["0"].message)
        outcome = msgspec.json.encode(Outcome(False, error=error, task=call.name)).decode()
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
        outcome=outcome,
        refusals=msgspec.json.encode(refusals).decode(),
    )
    return Called(call=made, runs=runs)
