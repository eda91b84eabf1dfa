"""Runs are read with their family, listed by filters and cursors, and never without a reason."""

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from offices import Office, manifest, task
from outlast.engine.admission import Origin
from outlast.engine.database import Database
from outlast.engine.errors import InvalidRequest, NotFound
from outlast.engine.filters import Page, RunFilters, statuses_named
from outlast.engine.queries import parse
from outlast.engine.reports import Reports
from outlast.engine.runs import Runs
from outlast.engine.tenancy import Environment
from outlast.engine.turn import NewRun, play
from outlast.protocol.manifests import QueueManifest
from outlast.protocol.statuses import FINAL, NAMES, Status
from outlast.protocol.triggers import Trigger

WRITE = parse(
    "test",
    """
-- name: status
update outlast.run_state set status = :status, version_id = (
  select current_version_id from outlast.environment where id = environment_id)
where run_id = :run
-- name: end_run
insert into outlast.run_end (run_id, status, output, error, attempt, finished_at)
values (:run, :status, :output, :error, 1, now())
-- name: tag
insert into outlast.tag (run_id, tag, environment_id)
select run_id, :tag, environment_id from outlast.run_state where run_id = :run
on conflict do nothing
-- name: metadata
insert into outlast.metadata (run_id, value, updated_at) values (:run, :value::text::jsonb, now())
-- name: log
insert into outlast.log (run_id, at, level, message) values (:run, now(), 'info', :message)
-- name: session
insert into outlast.session (
  id, environment_id, version_id, name, host, pid, heartbeat_at, created_at)
select 'session_1', id, current_version_id, 'worker', 'host', 1, now(), now()
from outlast.environment where id = :environment
-- name: busy
update outlast.lane set running = 1 where environment_id = :environment and queue = :queue
-- name: waits
update outlast.run_state set status = 'waiting', awaiting = :keys where run_id = :run
""",
)


@dataclass
class Desk:
    """One environment with tasks, a clock of its own, and the reads under test."""

    office: Office
    environment: Environment
    runs: Runs
    made: list[str] = field(default_factory=list)

    async def trigger(self, *triggers: Trigger, origin: Origin | None = None) -> list[str]:
        admitted = await self.office.admission.admit(self.environment, triggers, origin)
        created = [one for one in admitted if isinstance(one, NewRun)]
        assert len(created) == len(triggers), admitted
        async with self.office.database.acquire() as executor:
            await play(
                executor,
                self.environment.id,
                created,
                pools=[],
                homes=[],
                server="test",
                clock=None,
            )
        return [one.run for one in created]

    async def set(self, statement: str, **values: object) -> None:
        await self.office.database.execute(WRITE[statement], **values)

    async def listed(self, **filters: object) -> list[str]:
        page = await self.runs.page(
            self.environment.id,
            RunFilters(**filters),  # type: ignore[arg-type]
        )
        return [run.id for run in page.runs]


@pytest.fixture
async def desk(database: Database) -> Desk:
    ticks = itertools.count(int(time.time() * 1000))
    office = Office(database, clock=lambda: next(ticks))
    project = await office.project()
    environment = project.environments[2]
    await office.catalogue.register(
        environment.id,
        manifest("a", task("one"), task("two"), queues=(QueueManifest("slow", 1, 1),)),
    )
    return Desk(office, environment, Runs(database))


async def test_a_run_is_read_with_its_tags_and_metadata_as_they_are_now(desk: Desk) -> None:
    [run_id] = await desk.trigger(Trigger(task="one", tags=("b",), metadata='{"a": 1}'))
    assert (await desk.runs.retrieve(desk.environment.id, run_id)).metadata == '{"a": 1}'
    await desk.set("tag", run=run_id, tag="a")
    await desk.set("tag", run=run_id, tag="b")
    await desk.set("metadata", run=run_id, value='{"a": 2}')

    run = await desk.runs.retrieve(desk.environment.id, run_id)

    assert (run.status, run.task, run.queue) == (Status.QUEUED, "one", "task/one")
    assert run.tags == ("a", "b")
    assert json.loads(run.metadata or "") == {"a": 2}
    assert not run.has_ended
    assert not await desk.runs.has_ended(desk.environment.id, run_id)


async def test_another_environments_run_is_not_found(desk: Desk, database: Database) -> None:
    [run_id] = await desk.trigger(Trigger(task="one"))
    other = (await desk.office.tenancy.create_project("Other")).environments[0]

    lines = Reports(database, desk.runs).lines
    for reading in (desk.runs.retrieve, desk.runs.detail, desk.runs.has_ended, lines):
        with pytest.raises(NotFound):
            await reading(other.id, run_id)
    assert (await desk.runs.page(other.id)).runs == ()
    assert await desk.runs.standing(other.id, run_id) is None


@pytest.mark.parametrize("run_id", ["", "run_nothing", "\0", "\ud800", "x" * 10_000])
async def test_what_is_no_run_is_not_found(desk: Desk, run_id: str) -> None:
    with pytest.raises(NotFound):
        await desk.runs.retrieve(desk.environment.id, run_id)


async def test_a_run_shows_its_family_payload_and_end(desk: Desk) -> None:
    payload = json.dumps("x" * 20_000)
    [root] = await desk.trigger(Trigger(task="one", payload=payload))
    family = Origin(parent=root, root=root, depth=1, trigger_function="triggerAndWait")
    children = await desk.trigger(Trigger(task="two"), Trigger(task="two"), origin=family)
    await desk.set("status", run=root, status="completed")
    await desk.set("end_run", run=root, status="completed", output='"done"', error=None)

    above = await desk.runs.detail(desk.environment.id, root)
    below = await desk.runs.detail(desk.environment.id, children[0])

    assert above.contents.payload == payload
    assert above.contents.output == '"done"'
    assert above.run.finished_at is not None
    assert above.standing is None
    assert [child.id for child in above.children] == sorted(children, reverse=True)
    assert below.parent is not None
    assert below.root is not None
    assert below.parent.id == below.root.id == root
    assert (below.run.depth, below.run.trigger_function) == (1, "triggerAndWait")
    assert await desk.runs.has_ended(desk.environment.id, root)


async def test_an_error_is_read_back_as_data(desk: Desk) -> None:
    [run_id] = await desk.trigger(Trigger(task="one"))
    error = {"kind": "raised", "type": "ValueError", "message": "no"}
    await desk.set("end_run", run=run_id, status="failed", output=None, error=json.dumps(error))

    [contents] = await desk.runs.contents(desk.environment.id, [run_id])

    found = contents.run_error()
    assert found is not None
    assert (found.type, found.message) == ("ValueError", "no")
    assert contents.retry_policy().max_attempts == 3


async def test_pages_go_forward_and_back_and_show_every_run_once(desk: Desk) -> None:
    made = await desk.trigger(*(Trigger(task="one") for _ in range(7)))
    newest_first = sorted(made, reverse=True)
    seen: list[Sequence[str]] = []
    cursor: str | None = None

    while True:
        page = await desk.runs.page(desk.environment.id, page=Page(size=3, after=cursor))
        seen.append([run.id for run in page.runs])
        last, cursor = page, page.next
        if cursor is None:
            break

    assert [run for part in seen for run in part] == newest_first
    back = await desk.runs.page(desk.environment.id, page=Page(size=3, before=last.previous))
    assert [run.id for run in back.runs] == seen[1]
    first = await desk.runs.page(desk.environment.id, page=Page(size=3, before=back.previous))
    assert [run.id for run in first.runs] == seen[0]
    assert first.previous is None
    assert first.next == seen[0][-1]


async def test_every_filter_chooses(desk: Desk) -> None:
    offer = await desk.office.catalogue.offer(desk.environment.id)
    assert offer is not None
    [plain] = await desk.trigger(Trigger(task="one"))
    [tagged] = await desk.trigger(Trigger(task="two", tags=("x", "y")))
    [late_tagged] = await desk.trigger(Trigger(task="two", queue="slow"))
    await desk.set("tag", run=late_tagged, tag="x")
    [test] = await desk.trigger(Trigger(task="one", is_test=True, machine="micro"))
    [child] = await desk.trigger(
        Trigger(task="one"), origin=Origin(parent=plain, root=plain, batch="batch_1")
    )
    [failed] = await desk.trigger(Trigger(task="one"))
    await desk.set("status", run=failed, status="failed")

    assert await desk.listed() == [failed, child, test, late_tagged, tagged, plain]
    assert await desk.listed(tasks=("two", "none")) == [late_tagged, tagged]
    assert await desk.listed(tags=("x",)) == [late_tagged, tagged]
    assert await desk.listed(tags=("y", "z")) == [tagged]
    assert await desk.listed(queues=("slow",)) == [late_tagged]
    assert await desk.listed(machines=("micro",)) == [test]
    assert await desk.listed(is_test=True) == [test]
    assert await desk.listed(is_test=False, tasks=("one",)) == [failed, child, plain]
    assert await desk.listed(batch="batch_1") == [child]
    assert await desk.listed(parent=plain) == [child]
    assert child not in await desk.listed(root_only=True)
    assert await desk.listed(statuses=(Status.FAILED, Status.CRASHED)) == [failed]
    assert failed not in await desk.listed(statuses=(Status.QUEUED,))
    assert await desk.listed(versions=(offer.version.name,)) == [failed]
    assert await desk.listed(versions=("20200101.1",)) == []


async def test_tags_of_the_trigger_and_later_ones_are_listed_in_one_order(desk: Desk) -> None:
    made = await desk.trigger(*(Trigger(task="one", tags=("x",)) for _ in range(3)))
    await desk.trigger(Trigger(task="one"))
    [late_tagged] = await desk.trigger(Trigger(task="one"))
    await desk.set("tag", run=late_tagged, tag="x")

    assert await desk.listed(tags=("x",)) == [late_tagged, *sorted(made, reverse=True)]


async def test_a_task_queue_holds_its_own_runs_and_those_sent_there(desk: Desk) -> None:
    [own] = await desk.trigger(Trigger(task="one"))
    [sent] = await desk.trigger(Trigger(task="two", queue="task/one"))
    [slow] = await desk.trigger(Trigger(task="one", queue="slow"))

    assert await desk.listed(queues=("task/one",)) == [sent, own]
    assert await desk.listed(queues=("task/one", "slow")) == [slow, sent, own]


async def test_a_range_of_time_chooses_by_the_moment_of_creation(desk: Desk) -> None:
    [run] = await desk.trigger(Trigger(task="one"))
    created = (await desk.runs.retrieve(desk.environment.id, run)).created_at
    second = timedelta(seconds=1)

    assert await desk.listed(created_from=created, created_to=created) == [run]
    assert await desk.listed(created_from=created + second) == []
    assert await desk.listed(created_to=created - second) == []
    assert await desk.listed(created_from=datetime(1970, 1, 1, tzinfo=UTC)) == [run]


@pytest.mark.parametrize("status", list(Status))
async def test_every_status_can_be_asked_for(desk: Desk, status: Status) -> None:
    names = NAMES[status]

    assert status in statuses_named([names.api])
    assert status in statuses_named([names.legacy.lower()])
    assert await desk.listed(statuses=(status,)) == []


def test_an_unknown_status_names_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match="QUEUED"):
        statuses_named(["SLEEPING"])


@pytest.mark.parametrize(
    ("filters", "page"),
    [
        (RunFilters(), Page(size=0)),
        (RunFilters(), Page(size=101)),
        (RunFilters(), Page(after="run_a", before="run_b")),
        (RunFilters(), Page(after="run_'; drop table outlast.run; --")),
        (RunFilters(), Page(before="\0")),
        (RunFilters(tasks=("\0",)), Page()),
        (RunFilters(tags=("\ud800",)), Page()),
        (RunFilters(queues=("q" * 5_000,)), Page()),
        (RunFilters(batch="\0"), Page()),
        (RunFilters(tags=tuple(str(number) for number in range(101))), Page()),
    ],
)
async def test_what_no_list_can_mean_is_refused_by_field(
    desk: Desk, filters: RunFilters, page: Page
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await desk.runs.page(desk.environment.id, filters, page)

    assert caught.value.param is not None


async def test_logs_continue_where_the_reader_stopped(desk: Desk) -> None:
    [run] = await desk.trigger(Trigger(task="one"))
    for message in ("a", "b"):
        await desk.set("log", run=run, message=message)

    reports = Reports(desk.office.database, desk.runs)
    [first] = await reports.lines(desk.environment.id, run, limit=1)
    [second] = await reports.lines(desk.environment.id, run, after=first.number)

    assert (first.message, second.message) == ("a", "b")
    assert await desk.runs.events(desk.environment.id, run) == []
    assert await desk.runs.journal(desk.environment.id, run) == []


async def test_a_queued_run_names_what_holds_it_back(desk: Desk) -> None:
    [run] = await desk.trigger(Trigger(task="one", queue="slow"))

    async def standing() -> str | None:
        return await desk.runs.standing(desk.environment.id, run)

    assert await standing() == "no connected worker offers its version for shared runs"
    await desk.set("session", environment=desk.environment.id)
    assert await standing() == "waits for a free shared place on a worker"
    await desk.set("busy", environment=desk.environment.id, queue="slow")
    assert await standing() == "queue 'slow' is at its limit of 1"
    await desk.office.pause(desk.environment.id, "slow")
    assert await standing() == "queue 'slow' is paused"
    await desk.office.tenancy.change(desk.environment.id, paused=True)
    assert await standing() == "the environment is paused"


async def test_runs_that_wait_for_time_or_entries_say_which(desk: Desk) -> None:
    [delayed, waiting] = await desk.trigger(
        Trigger(task="one", delay_until=4_102_444_800), Trigger(task="one")
    )
    await desk.set("waits", run=waiting, keys=["wait:for#0", "child:a#0", "child:b#0", "child:c#0"])

    assert (
        await desk.runs.standing(desk.environment.id, delayed)
        == "is delayed until 2100-01-01T00:00:00Z"
    )
    assert (
        await desk.runs.standing(desk.environment.id, waiting)
        == "waits for a wait, child a, child b and 1 more"
    )


@pytest.mark.parametrize("status", list(Status))
async def test_every_run_that_is_not_final_has_a_reason(desk: Desk, status: Status) -> None:
    [run] = await desk.trigger(Trigger(task="one"))
    await desk.set("status", run=run, status=status.value)

    standing = await desk.runs.standing(desk.environment.id, run)

    assert bool(standing) is (status not in FINAL)
