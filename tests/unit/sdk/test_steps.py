"""Steps give the same live and on replay."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from pydantic import BaseModel

from fake_runtime import FakeRuntime
from outlast import AbortTaskRunError, StepError, UsageError, step, step_sync
from outlast.sdk import runtime
from outlast.sdk.steps import _digest


class Order(BaseModel):
    number: int
    total: Decimal


def load(number: int) -> Order:
    return Order(number=number, total=Decimal("1.50"))


async def load_slowly(number: int) -> Order:
    return load(number)


class CardError(Exception):
    """A user's error."""


def charge() -> None:
    raise CardError("declined")


@pytest.mark.parametrize("fn", [load, load_slowly])
async def test_a_result_is_read_back_from_its_json(fn: Callable[[int], Order]) -> None:
    run = FakeRuntime()
    with runtime.entered(run):
        live = await step("load", fn, 7)
        run.reserved.clear()
        replayed = await step("load", fn, 8)

    assert live == replayed == load(7)
    assert run.journal["step:load#0"].value == '{"number":7,"total":"1.50"}'


async def test_without_an_annotation_it_is_plain_json_both_times() -> None:
    run = FakeRuntime()
    with runtime.entered(run):
        live: object = await step("load", lambda: load(1))
        run.reserved.clear()
        replayed: object = await step("load", lambda: load(1))

    assert live == replayed == {"number": 1, "total": "1.50"}


async def test_options_say_what_to_read_it_as() -> None:
    with runtime.entered(FakeRuntime()):
        assert await step.options(type=Order)("load", lambda: load(1)) == load(1)


async def test_a_failure_is_a_step_error_live_and_on_replay() -> None:
    run = FakeRuntime()
    with runtime.entered(run):
        with pytest.raises(StepError) as live:
            await step("charge", charge)
        run.reserved.clear()
        with pytest.raises(StepError) as replayed:
            await step("charge", charge)

    assert (live.value.type, live.value.message, live.value.step) == (
        "CardError",
        "declined",
        "charge",
    )
    assert str(live.value) == str(replayed.value)
    assert isinstance(live.value.__cause__, CardError)
    assert replayed.value.__cause__ is None
    assert "charge" in live.value.stack


async def test_an_abort_inside_a_step_aborts_the_run() -> None:
    def give_up() -> None:
        raise AbortTaskRunError("no use")

    run = FakeRuntime()
    with runtime.entered(run):
        for _ in range(2):
            run.reserved.clear()
            with pytest.raises(AbortTaskRunError, match="no use"):
                await step("x", give_up)


async def test_a_plain_function_runs_in_a_thread_inside_the_run() -> None:
    run = FakeRuntime()

    def look() -> tuple[bool, str | None, bool]:
        inside = runtime.current() is run
        return inside, run.context.step.token, threading.current_thread() is main

    main = threading.current_thread()
    with runtime.entered(run):
        seen = await step("look", look)

    assert seen == (True, "token-of-step:look#0", False)
    with pytest.raises(UsageError, match="belongs to a step"):
        _ = run.context.step.token


async def test_its_place_is_taken_when_it_is_called() -> None:
    run = FakeRuntime()
    with runtime.entered(run):
        first, second = step("x", load, 1), step("x", load, 2)
        assert run.reserved == ["step:x#0", "step:x#1"]
        assert (await second).number == 2
        assert (await first).number == 1


async def test_a_timeout_fails_the_step() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    with runtime.entered(FakeRuntime()), pytest.raises(StepError) as failed:
        await step.options(timeout="10ms")("hang", hang)

    assert failed.value.type == "TimeoutError"


async def test_a_cancel_is_no_result() -> None:
    entered = asyncio.Event()

    async def hang() -> None:
        entered.set()
        await asyncio.Event().wait()

    run = FakeRuntime()
    with runtime.entered(run):
        waiting = asyncio.create_task(step("hang", hang))
    await entered.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert run.journal == {}


def test_blocking_steps_do_the_same(run: FakeRuntime) -> None:
    assert step_sync("load", load, 7) == load(7)
    assert run.journal["step:load#0"].value == '{"number":7,"total":"1.50"}'
    with pytest.raises(StepError, match="CardError: declined"):
        step_sync("charge", charge)
    with pytest.raises(UsageError, match="is async"):
        _ = step_sync("slow", load_slowly, 1)


async def test_outside_a_run_it_is_a_plain_call() -> None:
    class Odd:
        """Has no JSON form."""

    assert isinstance(await step("x", Odd), Odd)
    with pytest.raises(CardError):
        await step("charge", charge)
    assert step_sync("load", load, 1) == load(1)


async def test_a_result_without_json_fails_the_step() -> None:
    with runtime.entered(FakeRuntime()), pytest.raises(StepError) as failed:
        await step("x", lambda: object())  # noqa: PLW0108 - a lambda has no annotations

    assert failed.value.type == "OutputError"


def test_arguments_without_json_count_by_their_type() -> None:
    class Session:
        pass

    def numbers() -> Iterator[int]:
        yield 1

    assert _digest((Session(), 1), {}) == _digest((Session(), 1), {})
    assert _digest((Session(), 1), {}) != _digest((Session(), 2), {})
    assert _digest((numbers,), {"a": 1}) != _digest((numbers,), {"b": 1})
