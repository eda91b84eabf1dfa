"""What `@task` takes, what it refuses, and what a task then declares."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from fake_runtime import FakeRuntime
from outlast import Context, PayloadError, Queue, Retry, TaskRef, UsageError, task
from outlast.sdk.registry import registry

if TYPE_CHECKING:
    from fractions import Fraction


class Order(BaseModel):
    number: int = 1


def test_the_id_is_the_functions_name_in_kebab_case() -> None:
    @task()
    async def send_daily_report() -> None: ...

    assert send_daily_report.id == "send-daily-report"
    assert registry.tasks["send-daily-report"] is send_daily_report


def test_an_id_exists_once_and_both_places_are_named() -> None:
    @task("x")
    async def first() -> None: ...

    with pytest.raises(UsageError, match=r"two tasks have the id 'x'.*first.*second"):

        @task("x")
        async def second() -> None: ...


@pytest.mark.parametrize(
    ("options", "is_async", "expected"),
    [
        ({}, True, "shared"),
        ({}, False, "dedicated"),
        ({"isolated": True}, True, "dedicated"),
        ({"machine": "small-2x"}, True, "dedicated"),
        ({"threads": True}, False, "shared"),
    ],
)
def test_the_executor_follows_from_the_function(
    options: dict[str, Any], is_async: bool, expected: str
) -> None:
    async def slow() -> None: ...

    def quick() -> None: ...

    made = task("x", **options)(slow if is_async else quick)

    assert (made.executor, made.is_async) == (expected, is_async)


def test_a_task_declares_itself() -> None:
    @task(
        "x",
        queue=Queue(concurrency_limit=2),
        retry=Retry(max_attempts=5),
        max_duration="10m",
        ttl="1h",
    )
    async def x(payload: Order, ctx: Context) -> None:
        """Do x."""

    manifest = x.manifest()
    assert (manifest.id, manifest.queue, manifest.executor) == ("x", "task/x", "shared")
    assert (manifest.max_duration, manifest.ttl, manifest.description) == (600, 3600, "Do x.")
    assert manifest.retry.max_attempts == 5
    assert manifest.payload_schema is not None
    assert registry.queues["task/x"].concurrency_limit == 2


def test_max_duration_is_an_hour_unless_said_otherwise() -> None:
    @task("default")
    async def default() -> None: ...

    @task("endless", max_duration=None)
    async def endless() -> None: ...

    assert default.manifest().max_duration == 3_600
    assert default.manifest(default_max_duration=60).max_duration == 60
    assert endless.manifest().max_duration is None


def test_arguments_follow_the_signature() -> None:
    ctx = FakeRuntime().context

    @task("both")
    async def both(payload: Order, ctx: Context) -> None: ...

    @task("context")
    async def context(ctx: Context) -> None: ...

    @task("default")
    async def default(order: Order = Order(number=5)) -> None: ...  # noqa: B008

    order = both.decode_payload('{"number":2}', "application/json")
    assert both.arguments(order, ctx) == ((Order(number=2),), {"ctx": ctx})
    assert context.arguments(context.decode_payload(None, ""), ctx) == ((), {"ctx": ctx})
    assert default.arguments(default.decode_payload(None, ""), ctx) == ((), {})
    with pytest.raises(PayloadError, match="needs a payload"):
        both.decode_payload(None, "")


def test_a_payload_is_checked_at_the_call() -> None:
    @task("order")
    async def order(payload: Order) -> None: ...

    @task("nothing")
    async def nothing() -> None: ...

    with pytest.raises(PayloadError, match=r"payload\.number"):
        order.trigger({"number": "x"})  # type: ignore[call-overload]
    with pytest.raises(PayloadError, match="task order needs a payload and got none; pass it"):
        order.trigger()  # type: ignore[call-overload]
    with pytest.raises(PayloadError, match="task other needs a payload and got none"):
        TaskRef[Order, None]("other").trigger()  # type: ignore[call-overload]
    assert TaskRef[None, None]("other").encode_payload(None) is None
    assert TaskRef[Any, Any]("other").encode_payload(None) is None
    with pytest.raises(PayloadError, match="takes no payload"):
        nothing.trigger({"a": 1})  # type: ignore[call-overload]


def test_calling_a_task_names_the_ways() -> None:
    @task("x")
    async def x(payload: int) -> int:
        return payload

    for way in (".trigger()", ".trigger_and_wait()", ".function()"):
        with pytest.raises(UsageError, match=re.escape(way)):
            x(1)  # type: ignore[operator]


async def test_the_function_stays_a_function() -> None:
    @task("x")
    async def x(payload: int) -> int:
        return payload + 1

    assert await x.function(1) == 2


def hiding(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def hider(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return hider


def losing(function: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


class Service:
    def run(self) -> None: ...


async def two(first: int, second: int) -> None: ...
async def generator() -> AsyncIterator[int]:
    yield 1


async def fine(payload: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda: None, "cannot name a lambda"),
        (Service.run, "is a method"),
        (Service().run, "not a method"),
        (staticmethod(fine), "not a staticmethod"),
        (functools.partial(fine, 1), "not a partial"),
        (two, "parameter 'second' that nobody fills"),
        (generator, "is a generator"),
        (hiding(fine), "'hider' below @task hides that fine is async"),
        (losing(fine), r"takes \*args or \*\*kwargs"),
    ],
)
def test_what_cannot_be_a_task_says_why(function: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        task("x")(function)


def test_options_of_the_wrong_kind_name_the_right_one() -> None:
    wrong: Any = task
    for options, said in (
        ({"queue": "export"}, r"declare Queue\("),
        ({"retry": {"max_attempts": 3}}, r"use Retry\("),
        ({"machine": "huge"}, "use one of micro"),
        ({"max_duration": "1s"}, "at least 5 s"),
        ({"threads": True, "isolated": True}, "isolated=True wants a process of its own"),
        ({"threads": True, "machine": "micro"}, "machine='micro' wants a process of its own"),
    ):
        with pytest.raises(UsageError, match=said):
            wrong("x", **options)
    with pytest.raises(UsageError, match="with parentheses"):
        wrong(fine)
    with pytest.raises(UsageError, match="threads=True is for a `def`"):
        task("x", threads=True)(fine)


def test_annotations_are_resolved_after_the_module_is_loaded() -> None:
    @task("later")
    async def later(payload: Later) -> None: ...

    assert later.decode_payload('{"number":1}', "application/json") == Later(number=1)


def test_a_name_for_type_checkers_only_is_reported_with_the_fix() -> None:
    @task("x")
    async def x(payload: Fraction) -> None: ...

    with pytest.raises(UsageError, match=r"'Fraction'.*runtime-evaluated-decorators"):
        x.check()


def test_a_context_under_another_name_is_reported() -> None:
    @task("x")
    async def x(context: Context) -> None: ...

    with pytest.raises(UsageError, match="name the parameter `ctx`"):
        x.check()


def test_a_queue_is_declared_once() -> None:
    Queue("q", concurrency_limit=1)
    Queue("q", concurrency_limit=1)
    with pytest.raises(UsageError, match="declared twice"):
        Queue("q", concurrency_limit=2)
    for name in ("", "task/x", "a b"):
        with pytest.raises(UsageError, match="queue name"):
            Queue(name)


def test_give_up_on_knows_an_error_of_a_step_by_its_name() -> None:
    class CardError(Exception):
        pass

    class Travelled(Exception):  # noqa: N818
        type = "CardError"

    retry = Retry(give_up_on=(CardError,))

    assert retry.gives_up_on(CardError())
    assert retry.gives_up_on(Travelled())
    assert not retry.gives_up_on(ValueError())


class Later(BaseModel):
    number: int
