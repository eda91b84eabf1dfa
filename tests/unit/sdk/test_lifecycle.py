"""What the SDK offers around a run: usage, heartbeats, signals, locals, late work, hooks."""

from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta

import pytest

from fake_runtime import FakeRuntime
from outlast import Context, OutsideRunError, RunInterrupted, heartbeats, task, usage, wait_until
from outlast import locals as run_locals
from outlast.protocol.messages import Facts
from outlast.sdk import runtime, tasks
from outlast.sdk.context import (
    AttemptContext,
    BatchContext,
    DeploymentContext,
    EnvironmentContext,
    MachineContext,
    ProjectContext,
    QueueContext,
    RunContext,
    TaskContext,
)
from outlast.sdk.registry import registry


@pytest.fixture
def run() -> Iterator[FakeRuntime]:
    fake = FakeRuntime()
    with runtime.entered(fake):
        yield fake


@pytest.fixture(autouse=True)
def _isolated() -> Iterator[None]:
    with registry.isolated():
        yield


def test_usage_is_active_time_of_the_attempt_and_of_all(run: FakeRuntime) -> None:
    used = usage.get_current()

    assert (used.attempt, used.total) == (timedelta(seconds=1), timedelta(seconds=2))


def test_a_block_is_measured_anywhere() -> None:
    with usage.measure() as used:
        sum(range(100_000))

    assert used.elapsed > timedelta()
    assert used.cpu > timedelta()


async def test_giving_way_belongs_into_a_task() -> None:
    with pytest.raises(OutsideRunError, match=r"asyncio\.sleep"):
        await heartbeats.yield_()


def test_a_def_task_hears_of_its_cancel_where_it_gives_way(run: FakeRuntime) -> None:
    heartbeats.yield_sync()
    run.signal.set("somebody asked")

    with pytest.raises(RunInterrupted, match="run_1 is to stop: somebody asked"):
        heartbeats.yield_sync()
    assert run.context.signal.wait(0)
    assert run.context.signal.reason == "somebody asked"


def test_the_first_reason_to_stop_stands(run: FakeRuntime) -> None:
    run.signal.set("first")
    run.signal.set("second")

    assert run.context.signal.reason == "first"


async def test_late_work_is_kept_by_the_run_only(run: FakeRuntime) -> None:
    async def work() -> None: ...

    late = work()
    wait_until(late)
    await late

    assert run.kept == [late]


def test_locals_of_runs_are_apart_from_those_outside(run: FakeRuntime) -> None:
    number = run_locals.create(int, "number")
    number.set(1)

    assert run.local_values == {number: 1}
    with runtime.entered(FakeRuntime()):
        assert number.get() is None


def test_the_context_tells_what_the_claim_told() -> None:
    facts = Facts(
        run_id="run_1",
        task="export",
        attempt=2,
        max_attempts=3,
        queue="exports",
        created_at=1_000.0,
        started_at=2_000.0,
        environment="env_1",
        environment_slug="dev",
        project="proj_1",
        version="v1",
        max_duration=3_600.0,
        concurrency_key="org_1",
        idempotency_key="once",
        tags=("a", "b"),
        parent="run_0",
        root="run_00",
        batch="batch_1",
        is_test=True,
        is_replay=True,
        machine="small-1x",
        priority=5.0,
        attempt_started_at=3_000.0,
        version_id="version_1",
        project_name="Books",
    )

    ctx = Context.of(facts, FakeRuntime(), "trigger/exports.py")

    assert ctx.run == RunContext(
        id="run_1",
        created_at=datetime.fromtimestamp(1_000, UTC),
        started_at=datetime.fromtimestamp(2_000, UTC),
        version="v1",
        tags=("a", "b"),
        max_attempts=3,
        max_duration=timedelta(hours=1),
        idempotency_key="once",
        concurrency_key="org_1",
        parent="run_0",
        root="run_00",
        is_test=True,
        is_replay=True,
        priority=timedelta(seconds=5),
    )
    assert ctx.attempt == AttemptContext(2, datetime.fromtimestamp(3_000, UTC))
    assert ctx.task == TaskContext("export", "trigger/exports.py")
    assert ctx.queue == QueueContext("exports")
    assert ctx.environment == EnvironmentContext("env_1", "dev")
    assert ctx.project == ProjectContext("proj_1", "Books")
    assert ctx.batch == BatchContext("batch_1")
    assert ctx.machine == MachineContext("small-1x", 0.5, 0.5)
    assert ctx.deployment == DeploymentContext("version_1", "v1")
    assert ctx.version == "v1"
    with pytest.raises(FrozenInstanceError):
        ctx.run.tags = ()  # type: ignore[misc]


def test_a_context_without_the_rest_says_none(run: FakeRuntime) -> None:
    ctx = Context.current()

    assert ctx is run.context
    assert ctx.attempt.started_at == ctx.run.started_at
    assert (ctx.machine, ctx.batch, ctx.run.parent) == (None, None, None)


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_manifest_says_that_a_cancel_has_hooks(everywhere: bool) -> None:
    @task("job")
    async def job() -> None: ...

    assert not job.manifest().on_cancel
    (tasks.on_cancel if everywhere else job.on_cancel)(lambda: None)

    assert job.manifest().on_cancel
