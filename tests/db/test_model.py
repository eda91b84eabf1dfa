"""Whatever happens in whatever order: limits, keys and statuses are those of a small model."""

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from engines import Platform, platform
from fake_worker import Claimed, FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.engine.queries import parse
from outlast.protocol.manifests import QueueManifest, RateManifest
from outlast.protocol.triggers import Debounce, Trigger
from recycling import Databases

T = TypeVar("T")
STEP = timedelta(seconds=5)
DELAY, RETRY, TTL = 5.0, 5.0, 7.0  # a delay is over after one step of time, a ttl after two
PUSH, LONGEST = 10.0, 20.0  # of a debounce: two steps after the last push, four after the first
BURST = 2
RATED = QueueManifest("rated", rate=RateManifest(1, STEP.total_seconds(), burst=BURST))
OFFERED = manifest("job", queue="q", queues=(QueueManifest("q", concurrency_limit=2), RATED))
RATED_LANES = frozenset("rs")
LANES = st.sampled_from("abrs")
LEAST_SUSPECT = 3
"""Losses of its worker, with nothing got on in between, that make a run a suspect."""
BUSY = {"dequeued", "executing"}
HOLDS_KEY = {"queued", "delayed", "executing", "retrying", "completed", "canceled"}
LIMITS = st.integers(0, 3)
_STATUSES = parse(
    "model",
    "-- name: statuses\nselect run_id as id, status, rescues from outlast.run_state "
    "where environment_id = :environment::text",
)["statuses"]


class _Row(msgspec.Struct, frozen=True):
    id: str
    status: str
    rescues: int


@dataclass
class Run:
    """What the model knows of a run."""

    lane: str
    status: str
    attempt: int = 0
    due: datetime | None = None  # the end of its delay, or its next attempt
    expires: datetime | None = None
    ttl: float | None = None
    latest: datetime | None = None  # of a debounced run: no push moves it past
    payload: str | None = None
    steps: int = 0
    rescues: int = 0  # since it got on
    goes_on: bool = False  # its next claim begins no attempt


class Stage:
    """One engine for all examples, on a clock that only the model moves."""

    def __init__(self, runner: asyncio.Runner, place: Platform, engine: Engine) -> None:
        self.runner, self.place, self.engine = runner, place, engine
        self.numbers = itertools.count(1)


class Clock:
    now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


CLOCK = Clock()


@pytest.fixture
def stage(migrated: Databases) -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def opened() -> Stage:
            url = await stack.enter_async_context(migrated.one())
            place = await stack.enter_async_context(platform(url, "prod", CLOCK))
            return Stage(runner, place, await place.server())

        try:
            yield runner.run(opened())
        finally:
            runner.run(stack.aclose())


@pytest.mark.timeout(240)
def test_runs_queues_and_keys_behave_like_their_model(stage: Stage) -> None:
    class Machine(Model):
        def __init__(self) -> None:
            super().__init__(stage)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=8,
            stateful_step_count=25,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


class Model(RuleBasedStateMachine):
    """Triggers, pushes, claims, ends, restarts, cancels, expiries, pauses, limits, rescues."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.engine = stage.engine
        self.runs: dict[str, Run] = {}
        self.keys: dict[str, str] = {}
        self.pushed: dict[str, str] = {}
        self.arrivals: dict[str, datetime] = {}  # of rated lanes: when the rate is caught up with
        self.hands: dict[str, Claimed] = {}
        self.lane_limit: int = 2
        self.limit = 3
        self.queue_paused = self.paused = False
        self.worker: FakeWorker | None = None

    # ── what happens ──────────────────────────────────────────────────────────────────────────

    @initialize()
    def begin(self) -> None:
        async def work() -> None:
            ref = f"proj_{next(self.stage.numbers)}"
            await self.engine.tenancy.create_project(ref, ref=ref)
            self.environment = await self.engine.tenancy.environment(ref, "prod")
            await self.engine.queues.change_environment(
                self.environment.id, concurrency_limit=self.limit
            )
            self.worker = await self.open()

        self.play(work())

    @rule(
        lane=LANES,
        key=st.sampled_from([None, None, "x", "y"]),
        delayed=st.booleans(),
        expires=st.booleans(),
        count=st.integers(1, 3),
    )
    def trigger(
        self, *, lane: str, key: str | None, delayed: bool, expires: bool, count: int
    ) -> None:
        wanted = Trigger(
            task="job",
            queue="rated" if lane in RATED_LANES else None,
            concurrency_key=lane,
            idempotency_key=None if key is None else key * 64,
            delay=DELAY if delayed else None,
            ttl=TTL if expires else None,
        )
        answers = self.play(self.engine.trigger(self.environment, [wanted] * count), settle=False)
        for answer in answers:
            held = self.keys.get(key) if key else None
            if held is not None and self.runs[held].status in HOLDS_KEY:
                assert (answer.run_id, answer.is_cached) == (held, True)
                continue
            assert answer.run_id not in self.runs
            assert not answer.is_cached
            if key:
                self.keys[key] = answer.run_id
            made = Run(lane, "delayed" if delayed else "queued", ttl=TTL if expires else None)
            made.due = CLOCK.now + STEP if delayed else None
            if expires and not delayed:
                made.expires = CLOCK.now + timedelta(seconds=TTL)
            self.runs[answer.run_id] = made
        self.play(self.settled())

    @rule(lane=LANES, key=st.sampled_from("mn"), trailing=st.booleans())
    def push(self, *, lane: str, key: str, trailing: bool) -> None:
        """Make a delayed run, or push the one of the key back."""
        payload = str(next(self.stage.numbers))
        wanted = Trigger(
            task="job",
            queue="rated" if lane in RATED_LANES else None,
            concurrency_key=lane,
            payload=payload,
            debounce=Debounce(key=key, delay=PUSH, trailing=trailing, max_delay=LONGEST),
        )
        [answer] = self.play(self.engine.trigger(self.environment, [wanted]), settle=False)
        run = self.runs.get(self.pushed.get(key, ""))
        due = CLOCK.now + timedelta(seconds=PUSH)
        if run is None or run.status != "delayed":
            assert answer.run_id not in self.runs
            made = Run(lane, "delayed", due=due, payload=payload)
            made.latest = CLOCK.now + timedelta(seconds=LONGEST)
            self.runs[answer.run_id] = made
            self.pushed[key] = answer.run_id
        else:
            assert (answer.run_id, answer.is_cached) == (self.pushed[key], True)
            assert run.due is not None
            assert run.latest is not None
            run.due = max(run.due, min(due, run.latest))
            run.payload = payload if trailing else run.payload
        self.play(self.settled())

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def step(self, *, data: st.DataObject) -> None:
        """Get on: what a worker takes along from now on counts anew."""
        run = data.draw(st.sampled_from(sorted(self.hands)))
        known = self.runs[run]
        key, known.steps, known.rescues = f"step:s#{known.steps}", known.steps + 1, 0
        recorded = self.play(self.hands[run].step(key, "1", known.steps))
        assert recorded.value == "1"

    @precondition(lambda self: self.hands)
    @rule(how=st.sampled_from(["complete", "fail", "retry", "restart"]), data=st.data())
    def end(self, *, how: str, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.hands)))
        claimed, known = self.hands.pop(run), self.runs[run]
        known.expires = None
        if how == "retry":
            claimed.fail(retry_in=RETRY)
            known.status, known.due = "retrying", CLOCK.now + STEP
        elif how == "restart":
            payload = str(next(self.stage.numbers))
            self.play(self.restarted(claimed, payload), settle=False)
            known.status, known.payload, known.attempt, known.rescues = "queued", payload, 0, 0
        elif how == "fail":
            claimed.fail()
            known.status = "failed"
        else:
            claimed.complete()
            known.status = "completed"
        self.play(self.settled())

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def cancel(self, *, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.runs)))

        async def work() -> None:
            await self.engine.cancel(self.environment, run)
            if run in self.hands:
                self.hands.pop(run).fail("canceled")

        if self.runs[run].status in {"queued", "delayed", "executing", "retrying"}:
            self.runs[run].status = "canceled"
        self.play(work())

    @rule()
    def pass_time(self) -> None:
        CLOCK.now += STEP
        for run in self.runs.values():
            if run.status == "queued" and run.expires is not None and run.expires <= CLOCK.now:
                run.status = "expired"
            elif run.status in {"delayed", "retrying"} and run.due == CLOCK.now:
                run.due = None
                if run.status == "delayed" and run.ttl is not None:
                    run.expires = CLOCK.now + timedelta(seconds=run.ttl)
                run.status = "queued"
        self.engine.cycles.wake(self.environment.id)
        self.play(self.settled())

    @rule(paused=st.booleans())
    def pause_queue(self, *, paused: bool) -> None:
        async def work() -> None:
            queue = await self.engine.queues.retrieve(self.environment.id, "q")
            await self.engine.queues.pause(self.environment.id, queue, paused=paused)

        self.queue_paused = paused
        self.play(work())

    @rule(paused=st.booleans())
    def pause_environment(self, *, paused: bool) -> None:
        self.paused = paused
        self.play(self.engine.queues.change_environment(self.environment.id, paused=paused))

    @rule(limit=LIMITS)
    def limit_environment(self, *, limit: int) -> None:
        self.limit = limit
        self.play(
            self.engine.queues.change_environment(self.environment.id, concurrency_limit=limit)
        )

    @rule(limit=LIMITS)
    def limit_queue(self, *, limit: int) -> None:
        async def work() -> None:
            queue = await self.engine.queues.retrieve(self.environment.id, "q")
            await self.engine.queues.override(self.environment.id, queue, limit, by="model")

        self.lane_limit = min(limit, self.limit)  # as the environment allows when it is set
        self.play(work())

    @rule(goodbye=st.booleans())
    def lose_worker(self, *, goodbye: bool) -> None:
        """Its runs go back to their lanes, on the same attempt; without a goodbye it is counted."""
        executing = [run for run in self.runs.values() if run.status == "executing"]
        if any(run.rescues + 1 >= LEAST_SUSPECT for run in executing):
            goodbye = True  # suspects run alone, which is no matter of this model

        async def work() -> None:
            assert self.worker is not None
            lost = self.worker.hello.session
            self.hands.clear()
            for run in executing:
                run.status, run.expires, run.goes_on = "queued", None, True
                run.rescues += not goodbye
                run.attempt -= 1  # the claim that follows is of the same one
            await self.engine.gateway.close(lost, goodbye=goodbye)
            if not goodbye:  # as if its lease had run out
                await self.stage.place.sql(
                    "update outlast.session set lost_at = clock_timestamp() where id = $1", lost
                )
                await self.engine._sweep.run_once()
            self.worker = await self.open()

        self.play(work())

    def teardown(self) -> None:
        if self.worker is not None:
            self.stage.runner.run(
                self.engine.gateway.close(self.worker.hello.session, goodbye=True)
            )

    # ── what must be true ─────────────────────────────────────────────────────────────────────

    def play(self, work: Coroutine[Any, Any, T], *, settle: bool = True) -> T:
        async def both() -> T:
            done = await work
            if settle:
                await self.settled()
            return done

        return self.stage.runner.run(both())

    async def restarted(self, claimed: Claimed, payload: str) -> None:
        claimed.restart(payload)

    async def open(self) -> FakeWorker:
        session = f"session_{next(self.stage.numbers)}"
        return await FakeWorker.open(self.engine, self.environment, OFFERED, session=session)

    def claimable(self) -> int:
        """Return how many runs can start now, by the limits of lanes and environment."""
        if self.paused:
            return 0
        queued = Counter(
            (run.lane, run.goes_on) for run in self.runs.values() if run.status == "queued"
        )
        busy = Counter(run.lane for run in self.runs.values() if run.status == "executing")
        free = 0
        for lane in {lane for lane, _ in queued}:
            starts, goes_on = queued[lane, False], queued[lane, True]
            if lane in RATED_LANES:
                free += goes_on + min(starts, self.room(lane))
            elif not self.queue_paused:
                free += min(starts + goes_on, max(0, self.lane_limit - busy[lane]))
        return min(free, max(0, self.limit - busy.total()))

    def room(self, lane: str) -> int:
        """Return how many runs the rate of a lane lets start now."""
        ahead = (self.arrivals.get(lane, CLOCK.now) - CLOCK.now) / STEP
        return max(0, BURST - math.ceil(max(0.0, ahead)))

    async def settled(self) -> None:
        """Take what is to be claimed, no more and no less, and compare everything."""
        assert self.worker is not None
        for _ in range(self.claimable()):
            claimed = await self.worker.claim()
            run = self.runs[claimed.run]
            assert run.status == "queued", f"{claimed.run} was claimed while {run.status}"
            if run.lane in RATED_LANES and not run.goes_on:
                assert self.room(run.lane) > 0, f"{claimed.run} was claimed before its time"
                arrival = max(self.arrivals.get(run.lane, CLOCK.now), CLOCK.now)
                self.arrivals[run.lane] = arrival + STEP
            run.status, run.due, run.expires, run.goes_on = "executing", None, None, False
            run.attempt += 1
            assert claimed.claim.payload == run.payload
            assert claimed.claim.facts.attempt == run.attempt
            self.hands[claimed.run] = claimed
        assert self.claimable() == 0
        async with asyncio.timeout(20):
            while (differs := await self.difference()) != {}:  # noqa: ASYNC110 - the engine's turn
                await asyncio.sleep(0.005)
        assert differs == {}
        assert self.worker.claims_waiting == 0
        assert await self.engine._audit.environment(self.environment.id) == []
        assert await self.difference() == {}
        assert self.worker.claims_waiting == 0
        await self.worker.beat()

    async def difference(self) -> dict[str, object]:
        """Return the runs whose stored status or count of rescues is not that of the model."""
        rows = await self.stage.engine.database.fetch(
            _Row, _STATUSES, environment=self.environment.id
        )
        stored = {
            row.id: ("executing" if row.status in BUSY else row.status, row.rescues) for row in rows
        }
        assert stored.keys() == self.runs.keys()
        return {
            run: (stored[run], known)
            for run, known in self.runs.items()
            if stored[run] != (known.status, known.rescues)
        }
