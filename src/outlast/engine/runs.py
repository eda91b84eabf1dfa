"""Reading runs: one with its family and contents, pages of many, and why one stands where it is."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from outlast.engine.database import Database, Row
from outlast.engine.errors import Conflict, NotFound
from outlast.engine.filters import Choice, Page, RunFilters, check, compose, counted
from outlast.engine.queries import load
from outlast.engine.standing import Standing, explain
from outlast.protocol.manifests import RetryPolicy
from outlast.protocol.outcomes import RunError
from outlast.protocol.statuses import FINAL, Status

RUNS = load("runs")

MAX_CHILDREN = 100
MOST_COUNTED = 100_000
_MAX_LINES = 10_000

_errors = msgspec.json.Decoder(RunError)
_retries = msgspec.json.Decoder(RetryPolicy)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as lists show it. Durations are seconds; `metadata` is JSON text."""

    id: str
    task: str
    status: Status
    queue: str
    concurrency_key: str | None
    executor: str
    machine: str | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    delay_until: datetime | None
    ttl: float | None
    priority: float
    max_duration: float | None
    version: str | None
    attempt: int
    generation: int
    is_test: bool
    idempotency_key: str | None
    idempotency_shown: str | None
    idempotency_scope: str | None
    parent_id: str | None
    root_id: str | None
    depth: int
    trigger_function: str
    batch_id: str | None
    replayed_from: str | None
    active_seconds: float
    reason: str | None
    metadata: str | None
    tags: tuple[str, ...]

    @property
    def has_ended(self) -> bool:
        """Whether no transition leaves the status."""
        return self.status in FINAL


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was given and gave back, as text."""

    id: str
    payload: str | None
    payload_type: str
    output: str | None
    error: str | None
    retry: str
    trace_context: str | None
    token: int
    session_id: str | None

    def run_error(self) -> RunError | None:
        """Return why the run failed."""
        return _errors.decode(self.error) if self.error is not None else None

    def retry_policy(self) -> RetryPolicy:
        """Return the policy the run was created with, overrides included."""
        return _retries.decode(self.retry)


class Failure(msgspec.Struct, frozen=True):
    """A failed attempt. `error` is a RunError as JSON text."""

    attempt: int
    at: datetime
    error: str


class RunDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A run with everything that its page shows. `children` are at most 100, newest first."""

    run: Run
    contents: Contents
    root: Run | None
    parent: Run | None
    children: tuple[Run, ...]
    failures: tuple[Failure, ...]
    standing: str | None
    """Why the run stands where it stands; None once it has ended."""


class RunPage(msgspec.Struct, frozen=True):
    """One page of a list with the cursors of its neighbours."""

    runs: tuple[Run, ...]
    next: str | None
    previous: str | None


class JournalLine(msgspec.Struct, frozen=True):
    """One journal entry as a person reads it. `outcome` is an Outcome as JSON text."""

    key: str
    kind: str
    name: str
    attempt: int
    preview: str
    runs: str | None
    outcome: str | None
    number: int | None
    is_abandoned: bool
    created_at: datetime
    finished_at: datetime | None


class RunEvent(msgspec.Struct, frozen=True):
    """One thing that happened to a run: a rescue, a move to another version."""

    number: int
    at: datetime
    kind: str
    detail: str


class _Id(msgspec.Struct, frozen=True):
    id: str


class _Count(msgspec.Struct, frozen=True):
    count: int


class _Executing(msgspec.Struct, frozen=True):
    task: str
    count: int


class Runs:
    """The runs of all environments; every read names the environment it may see."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def retrieve(self, environment_id: str, run_id: str) -> Run:
        """Return a run. Raises `NotFound`."""
        found = await self.read(environment_id, [run_id])
        if not found:
            raise NotFound(f"there is no run {run_id[:80]!r} in this environment")
        return found[0]

    async def require_parked(self, environment_id: str, run_id: str) -> None:
        """Raise `Conflict` for a run that is not parked because it could not replay."""
        run = await self.retrieve(environment_id, run_id)
        if run.status is not Status.WAITING or run.reason is None:
            raise Conflict(
                f"run {run_id} is {run.status}; only one that could not replay is resumed"
            )

    async def read(self, environment_id: str, run_ids: Sequence[str]) -> list[Run]:
        """Return the runs with these ids, newest first; unknown ids are left out."""
        ids = [run_id for run_id in run_ids if "\0" not in run_id and run_id.isascii()]
        if not ids:
            return []
        return await self._database.fetch(
            Run, RUNS.read_runs, environment_id=environment_id, ids=ids
        )

    async def detail(self, environment_id: str, run_id: str) -> RunDetail:
        """Return a run with payload, output, family and standing. Raises `NotFound`."""
        run = await self.retrieve(environment_id, run_id)
        [contents] = await self.contents(environment_id, [run_id])
        children = await self._database.fetch(
            _Id,
            RUNS.list_children,
            environment_id=environment_id,
            parent_id=run_id,
            limit=MAX_CHILDREN,
        )
        wanted = {run.root_id, run.parent_id, *(child.id for child in children)} - {None}
        family = {
            each.id: each
            for each in await self.read(environment_id, [one for one in wanted if one is not None])
        }
        return RunDetail(
            run=run,
            contents=contents,
            root=family.get(run.root_id or ""),
            parent=family.get(run.parent_id or ""),
            children=tuple(family[child.id] for child in children if child.id in family),
            failures=tuple(await self.failures(run_id)),
            standing=await self.standing(environment_id, run_id),
        )

    async def failures(self, run_id: str) -> list[Failure]:
        """Return the attempts that failed, the first one first, with the last if it failed too."""
        return await self._database.fetch(Failure, RUNS.list_failures, run_id=run_id)

    async def contents(self, environment_id: str, run_ids: Sequence[str]) -> list[Contents]:
        """Return payloads and ends of runs, in no order."""
        return await self._database.fetch(
            Contents, RUNS.read_contents, environment_id=environment_id, ids=list(run_ids)
        )

    async def page(
        self, environment_id: str, filters: RunFilters | None = None, page: Page | None = None
    ) -> RunPage:
        """Return a page of runs, newest first. Raises `InvalidRequest`."""
        page = page or Page()
        filters = filters or RunFilters()
        check(filters, page)
        found = await self.choose(environment_id, filters, page)
        has_more = len(found) > page.size
        ids = sorted(found[: page.size], reverse=True)
        runs = await self.read(environment_id, ids)
        if page.before is not None:
            newer, older = has_more, bool(ids)
        else:
            newer, older = page.after is not None and bool(ids), has_more
        return RunPage(
            tuple(runs),
            next=ids[-1] if older else None,
            previous=ids[0] if newer else None,
        )

    async def choose(self, environment_id: str, filters: RunFilters, page: Page) -> list[str]:
        """Return the ids of a page of checked filters in its direction, and one more if any."""
        choice = compose(RUNS.choose_runs, environment_id, filters, page)
        return [row.id for row in await self._walk(_Id, choice)]

    async def count(
        self, environment_id: str, filters: RunFilters, *, most: int = MOST_COUNTED
    ) -> int:
        """Return how many runs checked filters find; `most` stands for that many or more."""
        page = Page(size=most - 1)
        choice = counted(compose(RUNS.choose_runs, environment_id, filters, page))
        [row] = await self._walk(_Count, choice)
        return row.count

    async def _walk(self, row: type[Row], choice: Choice) -> list[Row]:
        async with self._database.transaction() as executor:
            await executor.execute(RUNS.plan_lists, merges=choice.merges)
            return await executor.fetch_values(row, choice.statement, choice.values)

    async def has_ended(self, environment_id: str, run_id: str) -> bool:
        """Return whether a run has ended. Raises `NotFound`."""
        ended = await self._database.fetch_value(
            RUNS.find_end, environment_id=environment_id, id=run_id
        )
        if ended is None:
            raise NotFound(f"there is no run {run_id[:80]!r} in this environment")
        return bool(ended)

    async def parked(self, environment_id: str) -> list[str]:
        """Return the runs that could not replay, on another version than the current one."""
        rows = await self._database.fetch(_Id, RUNS.list_parked, environment_id=environment_id)
        return [row.id for row in rows]

    async def standing(self, environment_id: str, run_id: str) -> str | None:
        """Return in words what a run waits for or where it executes; None once it has ended."""
        found = await self._database.fetch_one(
            Standing, RUNS.stand, environment_id=environment_id, id=run_id
        )
        return None if found is None else explain(found)

    async def executing(self, environment_id: str) -> dict[str, int]:
        """Return how many runs of each task execute now."""
        rows = await self._database.fetch(
            _Executing, RUNS.count_executing, environment_id=environment_id
        )
        return {row.task: row.count for row in rows}

    async def journal(
        self, environment_id: str, run_id: str, limit: int = _MAX_LINES
    ) -> list[JournalLine]:
        """Return a run's journal in the order of its calls. Raises `NotFound`."""
        await self.has_ended(environment_id, run_id)
        async with self._database.acquire() as executor:
            return await executor.fetch_exact(
                JournalLine, RUNS.list_entries, run_id=run_id, limit=limit
            )

    async def events(
        self, environment_id: str, run_id: str, *, after: int = 0, limit: int = 1_000
    ) -> list[RunEvent]:
        """Return what happened to a run, oldest first. Raises `NotFound`."""
        await self.has_ended(environment_id, run_id)
        return await self._database.fetch(
            RunEvent, RUNS.list_events, run_id=run_id, after=after, limit=limit
        )
