"""What tasks did, counted after the end: by hour, day and week, and by the error they failed of."""

from datetime import UTC, datetime, timedelta

import pytest

from engines import Platform, ended_and_told
from fake_worker import FakeWorker, manifest
from outlast.engine.activity import Activity
from outlast.engine.engine import Engine
from outlast.engine.errors import InvalidRequest, NotFound
from outlast.engine.failures import ErrorGroup, fingerprint
from outlast.engine.filters import Page, RunFilters
from outlast.protocol.activity import Tally
from outlast.protocol.outcomes import RunError
from outlast.protocol.triggers import Trigger

DAY = 86_400.0


@pytest.fixture
async def worker(place: Platform, engine: Engine) -> FakeWorker:
    """Return a worker that offers two tasks."""
    return await FakeWorker.open(engine, place.environment, manifest("mail", "export"))


async def end(
    place: Platform,
    engine: Engine,
    worker: FakeWorker,
    task: str,
    *,
    error: str = "",
    key: str = "",
) -> str:
    """Let a run end, well or of an error."""
    wanted = Trigger(task=task, payload="null", idempotency_key=key or None)
    [made] = await engine.trigger(place.environment, [wanted])
    claim = await worker.claim(made.run_id)
    if error:
        claim.fail(error)
    else:
        claim.complete()
    await ended_and_told(engine, place.environment.id, made.run_id)
    return made.run_id


async def groups(place: Platform, engine: Engine) -> list[ErrorGroup]:
    await engine.activity.flush()
    return await engine.failures.groups(place.environment.id)


async def test_ended_runs_are_counted_once_by_task_and_hour(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    for _ in range(3):
        await end(place, engine, worker, "mail")
    await end(place, engine, worker, "mail", key="k")
    await end(place, engine, worker, "mail", error="boom")
    await end(place, engine, worker, "export")

    await engine.activity.flush()
    await engine.activity.flush()

    environment = place.environment.id
    tallies = await engine.activity.of_tasks(environment, "hour", DAY)
    counted = {
        task: (
            sum(one.completed for one in tallies if one.task == task),
            sum(one.failed for one in tallies if one.task == task),
            sum(one.attempts for one in tallies if one.task == task),
            sum(one.keyless for one in tallies if one.task == task),
        )
        for task in ("mail", "export")
    }
    assert counted == {"mail": (4, 1, 5, 4), "export": (1, 0, 1, 1)}
    only = await engine.activity.of_tasks(environment, "day", DAY, task="export")
    assert [(one.task, one.runs) for one in only] == [("export", 1)]
    weeks = await engine.activity.by_week(environment, 2)
    assert sum(one.runs for one in weeks) == 6
    assert all(one.start.weekday() == 0 for one in weeks)


async def test_failures_that_differ_in_values_only_are_one_group(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    first = await end(place, engine, worker, "mail", error="mailbox 'ada' is full (17 of 10 MB)")
    last = await end(place, engine, worker, "mail", error="mailbox 'bob' is full (3 of 2 MB)")
    other = await end(place, engine, worker, "export", error="no such invoice")

    found = await groups(place, engine)

    assert [(one.task, one.count, one.last_run) for one in found] == [
        ("export", 1, other),
        ("mail", 2, last),
    ]
    hours = await engine.failures.hours(
        place.environment.id, [one.fingerprint for one in found], DAY
    )
    assert sum(one.count for one in hours) == 3
    listed = await engine.runs.page(
        place.environment.id, RunFilters(error=found[1].fingerprint), Page(size=10)
    )
    assert [run.id for run in listed.runs] == [last, first]


async def test_a_resolved_error_opens_when_it_happens_again_and_an_ignored_one_stays(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    await end(place, engine, worker, "mail", error="boom")
    await end(place, engine, worker, "export", error="boom")
    export, mail = await groups(place, engine)
    environment = place.environment.id
    assert (await engine.failures.mark(environment, mail.fingerprint, "resolved")).count == 1
    await engine.failures.mark(environment, export.fingerprint, "ignored")
    assert await engine.failures.groups(environment, status="open") == []

    await end(place, engine, worker, "mail", error="boom")
    await end(place, engine, worker, "export", error="boom")

    found = {one.task: (one.status, one.count) for one in await groups(place, engine)}
    assert found == {"mail": ("open", 2), "export": ("ignored", 2)}
    with pytest.raises(NotFound, match="error_nothing"):
        await engine.failures.mark(environment, "error_nothing", "resolved")


async def test_groups_are_paged(place: Platform, engine: Engine, worker: FakeWorker) -> None:
    for message in ("aa", "bb", "cc"):
        await end(place, engine, worker, "mail", error=message)
    await engine.activity.flush()
    environment = place.environment.id

    page = await engine.failures.groups(environment, limit=2)
    rest = await engine.failures.groups(environment, after=page[-1].fingerprint, task="mail")

    assert [one.message for one in [*page, *rest]] == ["cc", "bb", "aa"]


async def test_what_ended_while_the_database_was_away_is_counted_later(
    place: Platform, engine: Engine, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await end(place, engine, worker, "mail")

    async def away(*_: object) -> None:
        raise InvalidRequest("away")

    with monkeypatch.context() as patched:
        patched.setattr(Activity, "_add", away)
        with pytest.raises(InvalidRequest):
            await engine.activity.flush()
    await engine.activity.flush()

    [tally] = await engine.activity.of_tasks(place.environment.id, "hour", DAY)
    assert tally.completed == 1


async def test_what_is_old_goes(place: Platform, engine: Engine, worker: FakeWorker) -> None:
    await end(place, engine, worker, "mail", error="boom")
    await engine.activity.flush()
    await place.sql("update outlast.task_activity set start = start - interval '500 days'")
    await place.sql("update outlast.error_hour set hour = hour - interval '500 days'")
    await place.sql("update outlast.error_group set last_at = last_at - interval '500 days'")

    await engine.activity.prune()

    assert await engine.activity.of_tasks(place.environment.id, "day", 1000 * DAY) == []
    assert await engine.failures.groups(place.environment.id) == []
    assert await place.sql("select from outlast.error_hour") == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("run run_01kb8s5vcy7g2k6d0r9z4q3x1n is gone", "run run_01kb8s5vcz111111111111111q is gone",
         True),
        ("no row 17", "no row 4", True),
        ("a@b.de bounced", "c@d.de bounced", True),
        ("GET https://a.example/1: 500", "GET https://a.example/2: 500", True),
        ("no invoice", "no customer", False),
    ],
)  # fmt: skip
def test_a_fingerprint_looks_at_the_shape(one: str, other: str, *, same: bool) -> None:
    of = [fingerprint("mail", RunError("raised", "ValueError", text)) for text in (one, other)]

    assert (of[0] == of[1]) is same


def test_a_tally_knows_its_runs() -> None:
    moment = datetime.now(UTC) - timedelta(hours=1)

    assert Tally(moment, "mail", 1, 2, 3, 7, 0, 0.5).runs == 6
