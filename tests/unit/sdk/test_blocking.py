"""A `_sync` call on a loop: a warning outside, an error in an async task, nothing in a `def`."""

import sys
import types
import warnings

import pytest

from fake_runtime import FakeRuntime
from outlast import BlockingCallWarning, UsageError, step_sync, task, wait
from outlast.sdk import runtime
from outlast.sdk.blocking import check_blocking
from outlast.sdk.options import build


async def test_an_async_task_must_not_block_its_loop() -> None:
    @task("parent")  # the task of the fake run
    async def parent() -> None: ...

    with runtime.entered(FakeRuntime()):
        with pytest.raises(UsageError, match=r"task parent; use `await wait\.for_\(\)`"):
            wait.for_sync("1s")
        with pytest.raises(UsageError, match=r"use `await step\(\)`"):
            step_sync("x", int)


def test_a_def_task_may_block(run: FakeRuntime) -> None:
    @task("parent")
    def parent() -> None: ...

    wait.for_sync("1s")
    assert step_sync("x", int, "5") == 5
    assert len(run.calls) == 1


async def test_it_warns_once_per_call_site() -> None:
    def call() -> None:
        check_blocking("x_sync()", "x()")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            call()
        check_blocking("x_sync()", "x()")

    assert [one.category for one in caught] == [BlockingCallWarning, BlockingCallWarning]
    assert {one.filename for one in caught} == {__file__}


def test_a_trigger_carries_the_trace_of_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build("t", None, {}).trace_context is None
    context = types.SimpleNamespace(trace_id=10, span_id=11, trace_flags=1, is_valid=True)
    span = types.SimpleNamespace(get_span_context=lambda: context)
    fake = types.SimpleNamespace(get_current_span=lambda: span)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", fake)

    expected = f"00-{'0' * 31}a-{'0' * 15}b-01"
    assert build("t", None, {}).trace_context == expected
    assert build("t", None, {"tags": "x"}).trace_context == expected
