"""Bulk actions: one cancel or replay over many runs, worked through by whichever server is free.

A server leases an action for a portion, takes runs (a row each), acts, and writes down what came of
it. A server that dies leaves rows without an outcome, and the next one begins with those: a cancel
may be repeated, a replay has a request key, so no run is acted upon twice.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from outlast.engine.cycles import Cycles
from outlast.engine.database import Database
from outlast.engine.errors import Conflict, InvalidRequest, NotFound
from outlast.engine.filters import Page, RunFilters, check, check_page
from outlast.engine.ids import Ids
from outlast.engine.queries import load
from outlast.engine.replays import Replays
from outlast.engine.runs import Runs
from outlast.engine.tenancy import Environment, Tenancy
from outlast.engine.turn import Cancellation
from outlast.protocol.triggers import Triggered

BULK = load("bulk")

Kind = Literal["cancel", "replay"]

MOST_NAMED = 500
MOST_REPLAYS = 3
"""Replays of one environment that are worked on at the same time; others wait."""
PERIOD = timedelta(days=7)
"""How far back a filter without a beginning reaches."""
_TAKEN_AT_ONCE = 100
_DONE_AT_ONCE: dict[Kind, int] = {"cancel": 100, "replay": 25}  # replays carry payloads
_LEASE_SECONDS = 15.0

_filters = msgspec.json.Decoder(RunFilters)
_encoder = msgspec.json.Encoder()


class BulkAction(msgspec.Struct, frozen=True, kw_only=True):
    """A bulk action as it stands. `total` is exact at the end, and up to 100,000 before."""

    id: str
    environment_id: str
    kind: Kind
    name: str | None
    status: Literal["pending", "completed", "aborted"]
    total: int
    success: int
    failure: int
    created_at: datetime
    completed_at: datetime | None


class BulkPage(msgspec.Struct, frozen=True):
    """One page of a list, newest first, with the cursors of its neighbours."""

    actions: tuple[BulkAction, ...]
    next: str | None
    previous: str | None


class _Leased(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    environment_id: str
    kind: Kind
    filter: str | None
    position: str | None
    taken_all: bool


class _Outcome(msgspec.Struct, frozen=True):
    run: str
    outcome: Literal["success", "failure"]
    result: str | None = None
    error: str | None = None


class _Canceled(msgspec.Struct, frozen=True):
    run_id: str
    is_canceled: bool
    status: str


class _Run(msgspec.Struct, frozen=True):
    run_id: str


class BulkActions:
    """The bulk actions of all environments, and the agent that works on them."""

    def __init__(
        self,
        database: Database,
        *,
        server: str,
        ids: Ids,
        tenancy: Tenancy,
        runs: Runs,
        replays: Replays,
        cycles: Cycles,
    ) -> None:
        self._database = database
        self._server = server
        self._ids = ids
        self._tenancy = tenancy
        self._runs = runs
        self._replays = replays
        self._cycles = cycles

    # ── callers ───────────────────────────────────────────────────────────────────────────────

    async def create(
        self,
        environment_id: str,
        kind: Kind,
        *,
        filters: RunFilters | None = None,
        run_ids: Sequence[str] = (),
        name: str | None = None,
    ) -> str:
        """Begin an action over the runs that a filter finds now, or over named ones.

        Runs made later are none of it. Raises `InvalidRequest`.
        """
        named = list(dict.fromkeys(run_ids))
        frozen = None if filters is None else await self._frozen(filters)
        if (frozen is None) == (not named):
            raise InvalidRequest("give either a filter or run ids", param="filter")
        if len(named) > MOST_NAMED:
            raise InvalidRequest(
                f"a bulk action takes at most {MOST_NAMED} run ids, not {len(named)}; use a filter",
                param="runIds",
            )
        if any("\0" in run or not run.isascii() for run in named):
            raise InvalidRequest("runIds holds what no run's id can be", param="runIds")
        total = len(named) if frozen is None else await self._runs.count(environment_id, frozen)
        bulk = self._ids.new("bulk")
        async with self._database.transaction() as executor:
            await executor.execute(
                BULK.create,
                id=bulk,
                environment=environment_id,
                kind=kind,
                name=name,
                filter=None if frozen is None else _encoder.encode(frozen).decode(),
                taken_all=frozen is None,
                total=total,
            )
            await executor.execute(BULK.take, bulk=bulk, runs=named)
            await executor.execute(BULK.count_missed, bulk=bulk, runs=named)
        return bulk

    async def retrieve(self, environment_id: str, bulk: str) -> BulkAction:
        """Return an action. Raises `NotFound`."""
        found = await self._database.fetch_one(
            BulkAction, BULK.retrieve, environment=environment_id, bulk=_plain(bulk)
        )
        if found is None:
            raise NotFound(f"there is no bulk action {bulk[:80]!r} in this environment")
        return found

    async def page(self, environment_id: str, page: Page) -> BulkPage:
        """Return a page of actions, newest first. Raises `InvalidRequest`."""
        check_page(page, "bulk")
        if page.before is not None:
            rows = await self._database.fetch(
                BulkAction,
                BULK.newer,
                environment=environment_id,
                before=page.before,
                limit=page.size + 1,
            )
        else:
            rows = await self._database.fetch(
                BulkAction,
                BULK.older,
                environment=environment_id,
                after=page.after,
                limit=page.size + 1,
            )
        has_more = len(rows) > page.size
        found = sorted(rows[: page.size], key=lambda action: action.id, reverse=True)
        newer = has_more if page.before is not None else page.after is not None and bool(found)
        older = bool(found) if page.before is not None else has_more
        return BulkPage(
            tuple(found),
            next=found[-1].id if older else None,
            previous=found[0].id if newer else None,
        )

    async def abort(self, environment_id: str, bulk: str) -> None:
        """Stop an action; what is under way still happens. Raises `NotFound`, `Conflict`."""
        if not await self._database.execute(
            BULK.abort, environment=environment_id, bulk=_plain(bulk)
        ):
            found = await self.retrieve(environment_id, bulk)
            raise Conflict(f"bulk action {bulk} is {found.status}; only a pending one is aborted")

    async def _frozen(self, filters: RunFilters) -> RunFilters:
        """Return the filter with the moments that make it the same one later."""
        if filters == RunFilters():
            raise InvalidRequest(
                "the filter of a bulk action names at least one field", param="filter"
            )
        check(filters, Page())
        now = await self._database.fetch_value(BULK.moment)
        assert isinstance(now, datetime), "the database tells the time"
        return msgspec.structs.replace(
            filters,
            created_from=filters.created_from or now - PERIOD,
            created_to=min(now, filters.created_to or now),
        )

    # ── the agent ─────────────────────────────────────────────────────────────────────────────

    async def run_once(self) -> int:
        """Work until nothing is left that this server could do; return the portions done."""
        portions = 0
        while await self._portion():
            portions += 1
        return portions

    async def _portion(self) -> bool:
        leased = await self._database.fetch_one(
            _Leased, BULK.lease, holder=self._server, seconds=_LEASE_SECONDS, most=MOST_REPLAYS
        )
        if leased is None:
            return False
        try:
            open_runs = await self._open(leased)
            if not open_runs and not leased.taken_all:
                await self._take(leased)
                open_runs = await self._open(leased)
            if open_runs:
                await self._record(leased.id, await self._act(leased, open_runs))
            await self._database.execute(BULK.complete, bulk=leased.id)
        finally:
            await self._database.execute(BULK.release, bulk=leased.id, holder=self._server)
        return True

    async def _open(self, leased: _Leased) -> list[str]:
        rows = await self._database.fetch(
            _Run, BULK.pending, bulk=leased.id, limit=_DONE_AT_ONCE[leased.kind]
        )
        return [row.run_id for row in rows]

    async def _take(self, leased: _Leased) -> None:
        """Write down the next runs that the filter finds, before anything is done to them."""
        filters = _filters.decode(leased.filter or "{}")
        page = Page(size=_TAKEN_AT_ONCE, after=leased.position)
        found = await self._runs.choose(leased.environment_id, filters, page)
        runs = found[:_TAKEN_AT_ONCE]
        async with self._database.transaction() as executor:
            if await executor.execute(
                BULK.advance,
                bulk=leased.id,
                holder=self._server,
                position=runs[-1] if runs else None,
                taken_all=len(found) <= _TAKEN_AT_ONCE,
            ):
                await executor.execute(BULK.take, bulk=leased.id, runs=runs)
                await executor.execute(BULK.count_missed, bulk=leased.id, runs=runs)

    async def _act(self, leased: _Leased, runs: Sequence[str]) -> list[_Outcome]:
        if leased.kind == "cancel":
            return await self._cancel(leased.environment_id, runs)
        environment = await self._tenancy.environment_by_id(leased.environment_id)
        if environment is None:
            return [_Outcome(run, "failure", error="its environment is gone") for run in runs]
        return await self._replay(leased.id, environment, runs)

    async def _cancel(self, environment_id: str, runs: Sequence[str]) -> list[_Outcome]:
        cancels = [Cancellation(run=run, reason="canceled in bulk") for run in runs]
        for answer in await self._cycles.of(environment_id).ask_all(cancels):
            if isinstance(answer, Exception):
                raise answer  # nothing is decided: the rows stay open
        rows = await self._database.fetch(_Canceled, BULK.cancels, runs=list(runs))
        found = {row.run_id: row for row in rows}
        return [_canceled(run, found.get(run)) for run in runs]

    async def _replay(
        self, bulk: str, environment: Environment, runs: Sequence[str]
    ) -> list[_Outcome]:
        wanted = {
            run: msgspec.structs.replace(trigger, request_key=f"{bulk}/{run}")
            for run, trigger in (await self._replays.originals(environment.id, runs)).items()
        }
        made = await self._replays.replay(environment, wanted)
        return [_replayed(run, made.get(run)) for run in runs]

    async def _record(self, bulk: str, outcomes: Sequence[_Outcome]) -> None:
        await self._database.execute(
            BULK.record, bulk=bulk, outcomes=_encoder.encode(outcomes).decode()
        )


def _canceled(run: str, found: _Canceled | None) -> _Outcome:
    if found is None:
        return _Outcome(run, "failure", error="the run is gone")
    if not found.is_canceled:
        return _Outcome(run, "failure", error=f"the run is {found.status}")
    return _Outcome(run, "success", result=run)


def _replayed(run: str, made: Triggered | None) -> _Outcome:
    if made is None:
        return _Outcome(run, "failure", error="the run is gone")
    if made.error is not None:
        return _Outcome(run, "failure", error=made.error.message)
    return _Outcome(run, "success", result=made.run_id)


def _plain(identifier: str) -> str:
    """Return the id, or one that nothing has where PostgreSQL could not even compare it."""
    return identifier if "\0" not in identifier and identifier.isascii() else ""
