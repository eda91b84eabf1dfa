"""Waits and tokens as the code writes them, and what they ask for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fake_runtime import FakeRuntime
from outlast import OutsideRunError, UsageError, WaitTimeoutError, idempotency_keys, wait
from outlast.protocol.outcomes import Outcome, RunError
from outlast.sdk import runtime
from outlast.sdk.wait import _months_later


async def asked(*calls: Any) -> list[Any]:
    """Return what calls ask a run for."""
    run = FakeRuntime()
    with runtime.entered(run):
        for make in calls:
            await make()
    return run.calls


async def test_a_duration_is_text_seconds_parts_or_a_timedelta() -> None:
    calls = await asked(
        lambda: wait.for_("1h30m"),
        lambda: wait.for_(90),
        lambda: wait.sleep(timedelta(days=2)),
        lambda: wait.for_(weeks=1, days=1, hours=1, minutes=1, seconds=1),
    )

    assert [call.seconds for call in calls] == [5400, 90, 172_800, 694_861]
    assert {call.kind for call in calls} == {"wait"}


async def test_an_idempotency_key_is_of_this_run_unless_it_says_global() -> None:
    shared = idempotency_keys.create("launch", scope="global")
    plain, same, everywhere = await asked(
        lambda: wait.for_(1, idempotency_key="launch", idempotency_key_ttl="1h"),
        lambda: wait.until(datetime(2031, 1, 1, tzinfo=UTC), idempotency_key="launch"),
        lambda: wait.for_(1, idempotency_key=shared),
    )

    assert plain.idempotency_key == same.idempotency_key != everywhere.idempotency_key
    assert everywhere.idempotency_key == idempotency_keys.create("launch", scope="global")
    assert type(plain.idempotency_key) is str
    assert (plain.idempotency_key_ttl, same.idempotency_key_ttl) == (3600, None)


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        ("2027-01-31", 1, "2027-02-28"),
        ("2028-01-31", 1, "2028-02-29"),
        ("2027-12-15", 1, "2028-01-15"),
        ("2028-02-29", 12, "2029-02-28"),
        ("2027-05-31", 25, "2029-06-30"),
    ],
)
def test_a_month_later_is_the_same_day_or_the_last_one(start: str, months: int, end: str) -> None:
    moment = datetime.fromisoformat(start).replace(tzinfo=UTC)

    assert _months_later(moment, months).date().isoformat() == end


async def test_every_wait_takes_a_timeout_that_is_recorded() -> None:
    calls = await asked(
        lambda: wait.for_(60, timeout="1s"),
        lambda: wait.until(datetime(2031, 1, 1, tzinfo=UTC), timeout=2),
        lambda: wait.for_token("waitpoint_1", timeout=timedelta(seconds=3)),
    )

    assert [call.timeout for call in calls] == [1, 2, 3]


async def test_a_wait_that_takes_too_long_raises() -> None:
    run = FakeRuntime()
    run.answers["for"] = Outcome(False, error=RunError("timed_out", "TimeoutError", "too long"))

    with runtime.entered(run), pytest.raises(WaitTimeoutError, match="too long"):
        await wait.for_(60, timeout=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: wait.for_("1h", days=1),
        lambda: wait.for_("soon"),
        lambda: wait.for_(day=1),  # type: ignore[call-arg]  # that is the mistake
        lambda: wait.until(datetime(2031, 1, 1)),  # noqa: DTZ001 - that is the mistake
        lambda: wait.until(datetime(1999, 1, 1, tzinfo=UTC), raise_if_past=True),
        lambda: wait.create_token(timeout="later"),
        lambda: wait.create_token(ttl="1h"),  # type: ignore[call-arg]  # likewise
    ],
)
async def test_a_wait_that_makes_no_sense_is_refused_at_once(make: Any) -> None:
    with runtime.entered(FakeRuntime()), pytest.raises(UsageError):
        make()


def test_outside_a_task_a_wait_names_what_to_use() -> None:
    with pytest.raises(OutsideRunError, match=r"asyncio\.sleep"):
        wait.for_(1)
    with pytest.raises(OutsideRunError, match="retrieve_token"):
        wait.for_token("waitpoint_1")


def test_def_tasks_wait_with_the_twins() -> None:
    run = FakeRuntime()
    run.answers["waitpoint_1"] = Outcome(True, '{"a":1}')

    with runtime.entered(run):
        wait.for_sync(days=1)
        wait.until_sync(datetime(2031, 1, 1, tzinfo=UTC))
        result = wait.for_token_sync("waitpoint_1", type=dict[str, int])

    assert result.unwrap() == {"a": 1}
    assert [call.kind for call in run.calls] == ["wait", "wait", "token"]
