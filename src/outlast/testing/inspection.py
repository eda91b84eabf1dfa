"""What a test may look at: runs as they stand, what they said and triggered, their journals.

Everything here answers at once, in `async def` and `def` tests alike: an assertion that one could
forget to await would assert nothing.
"""

import json
from collections.abc import Coroutine, Mapping
from enum import Enum
from typing import Any, TypeVar

from outlast.engine.probe import Probe, TriggeredRun
from outlast.engine.reports import Reports
from outlast.engine.runs import Run, Runs
from outlast.protocol.statuses import Status
from outlast.sdk.handles import RunHandle
from outlast.sdk.task import Task
from outlast.testing.databases import Lent, Room
from outlast.testing.journals import Journal

T = TypeVar("T")
AnyRun = RunHandle[Any] | str
_MOST_LINES = 10_000


class Anything(Enum):
    """Stands for an argument that is not compared."""

    ANYTHING = "anything"


class Inspection:
    """Reads one environment, from any thread."""

    def __init__(self, room: Room, lent: Lent, environment: str) -> None:
        self._room = room
        self._environment = environment
        self._probe = Probe(lent.database, environment)
        self._runs = Runs(lent.database)
        self._reports = Reports(lent.database, self._runs)

    def status(self, run: AnyRun) -> Status:
        """Return where a run stands. Raises `NotFound`."""
        return self._run(run).status

    def metadata(self, run: AnyRun) -> dict[str, Any]:
        """Return a run's metadata."""
        found: dict[str, Any] = json.loads(self._run(run).metadata or "{}")
        return found

    def tags(self, run: AnyRun) -> tuple[str, ...]:
        """Return a run's tags."""
        return self._run(run).tags

    def logs(self, run: AnyRun) -> list[str]:
        """Return what a run logged and printed, in order."""
        lines = self._look(self._reports.lines(self._environment, run_id(run), limit=_MOST_LINES))
        return [line.message for line in lines if line.kind == "line"]

    def journal(self, run: AnyRun) -> Journal:
        """Return what is recorded of a run, to be replayed against other code."""
        found = self._run(run)
        claim = self._look(self._probe.record(run_id(run)))
        [contents] = self._look(self._runs.contents(self._environment, [run_id(run)]))
        return Journal.of(
            claim, status=found.status, output=contents.output, error=contents.run_error()
        )

    def assert_triggered(
        self,
        task: Task[Any, Any] | str,
        *,
        count: int | None = None,
        payload: object = Anything.ANYTHING,
        tags: str | tuple[str, ...] = (),
    ) -> None:
        """Fail unless runs of a task were created: `count` of them, else at least one.

        Only those with this payload, and with these tags, are counted.
        """
        runs = self._look(self._probe.triggered(_task_id(task)))
        fitting = [each for each in runs if _fits(each, task, payload, tags)]
        if len(fitting) == count or (count is None and fitting):
            return
        wanted = "at least once" if count is None else f"{count} times"
        given = "" if payload is Anything.ANYTHING else f" with the payload {payload!r}"
        shown = "".join(f"\n  {each.run}: {_short(each.payload)}" for each in runs)
        raise AssertionError(
            f"task {_task_id(task)} was triggered {len(fitting)} times{given}, not {wanted}; "
            f"its runs are{shown or ' none'}"
        )

    def assert_not_triggered(
        self, task: Task[Any, Any] | str, *, payload: object = Anything.ANYTHING
    ) -> None:
        """Fail if a run of a task, with this payload, was created."""
        self.assert_triggered(task, count=0, payload=payload)

    def _run(self, run: AnyRun) -> Run:
        return self._look(self._runs.retrieve(self._environment, run_id(run)))

    def _look(self, work: Coroutine[Any, Any, T]) -> T:
        return self._room.call(work)


def run_id(run: AnyRun) -> str:
    """Return the id of a run."""
    return run if isinstance(run, str) else run.id


def _task_id(task: Task[Any, Any] | str) -> str:
    return task if isinstance(task, str) else task.id


def _fits(
    run: TriggeredRun, task: Task[Any, Any] | str, payload: object, tags: str | tuple[str, ...]
) -> bool:
    wanted = {tags} if isinstance(tags, str) else set(tags)
    if not wanted <= set(run.tags):
        return False
    if payload is Anything.ANYTHING:
        return True
    text = task.encode_payload(payload) if isinstance(task, Task) else json.dumps(_plain(payload))
    return _value(text) == _value(run.payload)


def _plain(payload: object) -> object:
    dump = getattr(payload, "model_dump", None)
    return dump(mode="json") if dump is not None and not isinstance(payload, Mapping) else payload


def _value(text: str | None) -> object:
    return None if text is None else json.loads(text)


def _short(text: str | None, most: int = 200) -> str:
    text = text or "no payload"
    return text if len(text) <= most else f"{text[:most]}…"
