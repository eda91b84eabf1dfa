"""Calls take their place when made, and run when driven."""

import asyncio
import gc
from collections.abc import AsyncIterator, Coroutine

import pytest

from fake_runtime import FakeRuntime
from outlast import (
    BatchItem,
    BatchTriggerError,
    OutsideRunError,
    RunCanceled,
    RunFailed,
    RunTimedOut,
    TaskRef,
    UsageError,
    WaitTimeoutError,
    batch,
    idempotency_keys,
    metadata,
    tags,
    task,
    wait,
)
from outlast.protocol.outcomes import ErrorKind, Outcome, RunError
from outlast.protocol.triggers import Refusal, Triggered
from outlast.sdk import runtime
from outlast.sdk.errors import OutsideRunWarning, UnprocessableError
from outlast.sdk.task import Task


@pytest.fixture
def double() -> Task[int, list[int]]:
    @task("double")
    async def double(payload: int) -> list[int]:
        return [payload, payload]

    return double


def failed(kind: ErrorKind) -> Outcome:
    error = RunError(kind=kind, type="CardError", message="declined", data='{"code":1}')
    return Outcome(ok=False, error=error, run_id="run_9", task="double")


async def test_a_child_gives_its_output_by_the_tasks_types(double: Task[int, list[int]]) -> None:
    run = FakeRuntime()
    run.answers["double"] = Outcome(ok=True, value="[4,4]", run_id="run_9")
    with runtime.entered(run):
        assert await double.trigger_and_wait(4).unwrap() == [4, 4]
        result = await double.trigger_and_wait(4, timeout="1h")

    assert (result.ok, result.output, result.id, result.task) == (True, [4, 4], "run_9", "double")
    call = run.calls[1]
    assert (call.key, call.kind, call.timeout) == ("child:double#1", "child", 3600.0)
    assert (call.items[0].task, call.items[0].payload) == ("double", "4")
    assert run.calls[0].arguments == call.arguments != ""


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("raised", RunFailed), ("canceled", RunCanceled), ("timed_out", RunTimedOut)],
)
async def test_a_failed_child_is_a_value_until_it_is_unwrapped(
    double: Task[int, list[int]], kind: ErrorKind, expected: type[RunFailed]
) -> None:
    run = FakeRuntime()
    run.answers["double"] = failed(kind)
    with runtime.entered(run):
        result = await double.trigger_and_wait(4)
        with pytest.raises(expected, match="CardError: declined") as raised:
            await double.trigger_and_wait(4).unwrap()

    assert not result.ok
    assert isinstance(result.error, expected)
    assert (raised.value.type, raised.value.data, raised.value.run_id) == (
        "CardError",
        '{"code":1}',
        "run_9",
    )


async def test_gather_and_task_groups_take_calls_in_the_order_made(
    double: Task[int, list[int]],
) -> None:
    run = FakeRuntime()
    run.answers["double"] = Outcome(ok=True, value="[1]")
    with runtime.entered(run):
        calls = [double.trigger_and_wait(number).unwrap() for number in range(3)]
        assert run.reserved == [f"child:double#{number}" for number in range(3)]
        assert all(isinstance(call, Coroutine) for call in calls)
        assert await asyncio.gather(*reversed(calls)) == [[1]] * 3
        async with asyncio.TaskGroup() as group:
            one = group.create_task(double.trigger_and_wait(9).unwrap())

    assert one.result() == [1]


async def test_a_call_that_is_never_awaited_warns(double: Task[int, list[int]]) -> None:
    with pytest.warns(RuntimeWarning, match=r"double\.trigger was never awaited"):
        await _forget(double)


async def _forget(double: Task[int, list[int]]) -> None:
    double.trigger(1)
    gc.collect()


async def test_a_call_works_once(double: Task[int, list[int]]) -> None:
    with runtime.entered(FakeRuntime()):
        call = double.trigger_and_wait(1)
        unwrapped = call.unwrap()
        with pytest.raises(UsageError, match="unwrapped"):
            await call
        unwrapped.close()


def test_outside_a_run_children_and_waits_name_what_to_use(
    double: Task[int, list[int]],
) -> None:
    with pytest.raises(OutsideRunError, match=r"handle\.result"):
        double.trigger_and_wait(1)
    with pytest.raises(OutsideRunError, match=r"handle\.result_sync"):
        double.trigger_and_wait_sync(1)
    with pytest.raises(OutsideRunError, match=r"asyncio\.sleep"):
        wait.for_("1s")


async def test_a_trigger_inside_a_run_goes_through_its_journal(
    double: Task[int, list[int]],
) -> None:
    run = FakeRuntime()
    with runtime.entered(run):
        handle = await double.trigger(4, tags="x", idempotency_key="once")
        with pytest.raises(UsageError, match="trigger_and_wait"):
            await handle.result()

    call = run.calls[0]
    hashed = idempotency_keys.hash_of(["once", "run_1"])
    assert handle.id == "run_child_0"
    assert call.key == f"trigger:double[{hashed[:16]}]#0"
    assert (call.items[0].idempotency_key, call.items[0].tags) == (hashed, ("x",))
    assert call.items[0].request_key is None


async def test_a_refused_trigger_raises(double: Task[int, list[int]]) -> None:
    run = FakeRuntime()
    run.made = lambda call: (Triggered(error=Refusal(422, "unknown_queue", "no such queue")),)
    with runtime.entered(run), pytest.raises(UnprocessableError, match="no such queue"):
        await double.trigger(4)


async def test_a_batch_resolves_to_all_of_its_ends(double: Task[int, list[int]]) -> None:
    run = FakeRuntime()
    members = (Outcome(ok=True, value="[1]", run_id="run_a"), failed("raised"))
    run.answers["double"] = Outcome(ok=True, members=members)
    with runtime.entered(run):
        found = await double.batch_trigger_and_wait([1, BatchItem(2, tags=["b"])])
        with pytest.raises(RunFailed):
            await double.batch_trigger_and_wait([1, 2]).unwrap()
        nothing = await double.batch_trigger_and_wait([])

    assert [result.ok for result in found] == [True, False]
    assert (found[0].output, found.ok, len(found), len(nothing)) == ([1], False, 2, 0)
    assert run.calls[0].kind == "batch"
    assert [item.tags for item in run.calls[0].items] == [(), ("b",)]
    assert len(run.calls) == 2


async def test_a_map_has_a_batch_per_window_and_stops_at_the_first_that_fails(
    double: Task[int, list[int]],
) -> None:
    run = FakeRuntime()
    ends = [Outcome(ok=True, value=f"[{n}]", run_id=f"run_{n}") for n in (1, 2)]
    run.answers["double"] = Outcome(ok=True, members=tuple(ends))
    with runtime.entered(run):
        assert await double.map(iter([1, 2, 3, 4]), window=2) == [[1], [2], [1], [2]]
        assert await double.map([]) == []
        assert [len(call.items) for call in run.calls] == [2, 2]

        run.answers["double"] = Outcome(ok=True, members=(ends[0], failed("raised")))
        with pytest.raises(RunFailed):
            await double.map([1, 2, 3, 4], window=2)
        assert len(run.calls) == 3
        for window in (0, 1_001):
            with pytest.raises(UsageError, match="1 to 1,000"):
                await double.map([1], window=window)


async def test_a_batch_with_refused_items_names_them(double: Task[int, list[int]]) -> None:
    run = FakeRuntime()
    run.made = lambda call: (
        Triggered(run_id="run_1", batch_id="batch_1"),
        Triggered(error=Refusal(429, "full", "no"), batch_id="batch_1"),
    )
    with runtime.entered(run), pytest.raises(BatchTriggerError, match="1 of the 2") as refused:
        await double.batch_trigger([1, 2])

    assert refused.value.refusals == ((1, "full", "no"),)
    assert refused.value.batch_id == "batch_1"


async def test_a_batch_inside_a_task_has_an_id_and_its_runs(double: Task[int, list[int]]) -> None:
    run = FakeRuntime()
    run.made = lambda call: tuple(Triggered(f"run_{n}", batch_id="batch_1") for n in range(2))
    with runtime.entered(run):
        handle = await double.batch_trigger([1, 2])
        run.made = lambda call: (Triggered("run_0", is_cached=True, batch_id="batch_2"),)
        again = await double.batch_trigger([1], idempotency_key="all")

    assert (handle.id, [one.id for one in handle.runs]) == ("batch_1", ["run_0", "run_1"])
    assert [(call.kind, call.is_batch) for call in run.calls] == [("trigger", True)] * 2
    assert (handle.is_cached, again.is_cached) == (False, True)


async def test_items_may_come_from_an_async_iterator(double: Task[int, list[int]]) -> None:
    """The place in the journal is taken when the call is made, whenever the items come."""

    async def numbers() -> AsyncIterator[int | BatchItem[int]]:
        yield 1
        yield BatchItem(2, tags=["b"])

    async def none() -> AsyncIterator[int]:
        return
        yield

    run = FakeRuntime()
    with runtime.entered(run):
        first, second = double.batch_trigger(numbers()), double.batch_trigger([3])
        assert run.reserved == ["trigger:double#0", "trigger:double#1"]
        await second
        handle = await first
        nothing = await double.batch_trigger(none())

    assert (handle.size, nothing.size) == (2, 0)
    assert [call.key for call in run.calls] == ["trigger:double#1", "trigger:double#0"]
    assert [(item.payload, item.tags) for item in run.calls[1].items] == [("1", ()), ("2", ("b",))]


async def test_a_batch_of_several_tasks_gives_each_its_types(double: Task[int, list[int]]) -> None:
    run = FakeRuntime()
    run.answers["double+far"] = Outcome(
        ok=True,
        members=(
            Outcome(ok=True, value="[1]", run_id="run_a", task="double"),
            Outcome(ok=True, value='"x"', run_id="run_b", task="far"),
        ),
    )
    far = TaskRef[str, str]("far")
    with runtime.entered(run):
        numbers, text = await batch.trigger_and_wait(double.item(1), far.item("a", tags=["t"]))
        with pytest.raises(UsageError, match="surprise is no option"):
            await batch.trigger(double.item(1), surprise=1)  # type: ignore[call-arg]

    assert (numbers.unwrap(), text.unwrap(), text.task) == ([1], "x", "far")
    assert [(item.task, item.tags) for item in run.calls[0].items] == [
        ("double", ()),
        ("far", ("t",)),
    ]


async def test_a_mixed_batch_is_waited_for_inside_a_task_only(
    double: Task[int, list[int]],
) -> None:
    with pytest.raises(OutsideRunError):
        await batch.trigger_and_wait(double.item(1), double.item(2))


def test_waits_say_how_long(run: FakeRuntime) -> None:
    wait.for_sync("1h30m")
    wait.for_sync(days=1, hours=2)
    wait.until_sync(run.now(), timeout=5)

    assert [(call.name, call.seconds, call.until, call.timeout) for call in run.calls] == [
        ("for", 5_400.0, None, None),
        ("for", 93_600.0, None, None),
        ("until", None, run.now().timestamp(), 5.0),
    ]


def test_waits_refuse_what_is_ambiguous(run: FakeRuntime) -> None:
    with pytest.raises(UsageError, match="not both"):
        wait.for_sync("1h", hours=1)
    with pytest.raises(UsageError, match="time zone"):
        wait.until_sync(run.now().replace(tzinfo=None))
    with pytest.raises(UsageError, match="past"):
        wait.until_sync(run.now().replace(year=2020), raise_if_past=True)


def test_a_wait_that_timed_out_raises(run: FakeRuntime) -> None:
    error = RunError(kind="timed_out", type="TimeoutError", message="the wait timed out")
    run.answers["for"] = Outcome(ok=False, error=error)
    with pytest.raises(WaitTimeoutError, match="the wait timed out"):
        wait.for_sync("1h", timeout="1m")


def test_metadata_and_tags_reach_the_run(run: FakeRuntime) -> None:
    metadata.set("done", 1).increment("done", 2).append("log", "x").delete("old")
    metadata.parent.increment("children")
    metadata.root.replace({"a": 1})
    tags.add("x", "y")

    assert [(one.type, ".".join(one.path), one.value, one.target) for one in run.operations] == [
        ("set", "done", "1", "self"),
        ("increment", "done", "2", "self"),
        ("append", "log", '"x"', "self"),
        ("delete", "old", "null", "self"),
        ("increment", "children", "1", "parent"),
        ("update", "", '{"a":1}', "root"),
    ]
    assert run.tags == ["x", "y"]
    assert metadata.get("log") == "x"


def test_outside_a_run_metadata_and_tags_do_nothing() -> None:
    with pytest.warns(OutsideRunWarning, match="metadata outside a run changes nothing"):
        metadata.set("a", 1).increment("b")
    with pytest.warns(OutsideRunWarning, match="tags"):
        tags.add("x")

    assert metadata.current() == {}
    assert metadata.get("a", 5) == 5


async def test_a_failure_that_nobody_looks_at_is_logged(
    double: Task[int, list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    run = FakeRuntime()
    run.answers["double"] = failed("raised")
    with runtime.entered(run):
        seen = await double.trigger_and_wait(1)
        assert not seen.ok
        del seen
        await double.trigger_and_wait(2)
        gc.collect()

    assert [record.getMessage() for record in caplog.records] == [
        "nobody looked at a failure: run run_9 of double failed: CardError: declined"
    ]
