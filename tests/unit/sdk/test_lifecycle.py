"""What the SDK offers around a run: usage, heartbeats, signals, locals, late work, hooks."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from fake_runtime import FakeRuntime
from outlast import Context, OutsideRunError, RunInterrupted, heartbeats, task, usage, wait_until
from outlast import locals as run_locals
from outlast.sdk import runtime, tasks
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


def test_the_context_tells_what_the_claim_told(run: FakeRuntime) -> None:
    ctx: Context = run.context

    assert ctx.attempt.started_at == ctx.run.started_at
    assert ctx.machine is None
    assert ctx.deployment.version == "v1"
    assert ctx.run.priority == timedelta()


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_manifest_says_that_a_cancel_has_hooks(everywhere: bool) -> None:
    @task("job")
    async def job() -> None: ...

    assert not job.manifest().on_cancel
    (tasks.on_cancel if everywhere else job.on_cancel)(lambda: None)

    assert job.manifest().on_cancel
