"""Versions are numbered, shared by digest, and become current by rule; queues follow them."""

import asyncio

import pytest

from offices import Office, manifest, task
from outlast.engine.database import Database
from outlast.engine.errors import InvalidRequest, NotFound
from outlast.engine.queries import parse
from outlast.engine.tenancy import Environment
from outlast.protocol.manifests import QueueManifest

SESSION = parse(
    "test",
    """
-- name: open
insert into outlast.session (
  id, environment_id, version_id, name, host, pid, heartbeat_at, created_at)
values (:version, :environment, :version, 'w', 'h', 1, now(), now())
-- name: lose
update outlast.session set lost_at = now() where version_id = :version
-- name: fill
insert into outlast.lane (environment_id, queue, key, route, open)
values (:environment, :queue, '', 'current/shared', false)
-- name: is_open
select open from outlast.lane where environment_id = :environment and queue = :queue
""",
)


@pytest.fixture
def office(database: Database) -> Office:
    return Office(database)


@pytest.fixture
async def dev(office: Office) -> Environment:
    return (await office.project()).environments[0]


@pytest.fixture
async def prod(office: Office) -> Environment:
    return (await office.project()).environments[2]


async def test_the_same_digest_is_the_same_version(office: Office, dev: Environment) -> None:
    first = await office.catalogue.register(dev.id, manifest("a", task("one")))
    again = await office.catalogue.register(dev.id, manifest("a", task("one")))
    second = await office.catalogue.register(dev.id, manifest("b", task("two")))

    assert (first.is_new, again.is_new, second.is_new) == (True, False, True)
    assert first.version == again.version
    day, number = first.version.name.split(".")
    assert len(day) == 8
    assert (number, second.version.name) == ("1", f"{day}.2")
    assert [v.name for v in await office.catalogue.versions(dev.id)] == [f"{day}.2", f"{day}.1"]


async def test_workers_that_start_at_once_make_one_version(
    office: Office, dev: Environment
) -> None:
    made = await asyncio.gather(
        *(office.catalogue.register(dev.id, manifest("a", task("one"))) for _ in range(8))
    )

    assert len({each.version.id for each in made}) == 1
    assert sum(each.is_new for each in made) == 1


async def test_versions_count_past_nine(office: Office, dev: Environment) -> None:
    for number in range(11):
        made = await office.catalogue.register(dev.id, manifest(f"d{number}"))

    assert made.version.name.endswith(".11")


async def test_in_dev_the_newest_start_is_current(office: Office, dev: Environment) -> None:
    for digest in ("a", "b", "a"):
        made = await office.catalogue.register(dev.id, manifest(digest, task(digest)))
        assert made.is_current

    offer = await office.catalogue.offer(dev.id)
    assert offer is not None
    assert list(offer.tasks) == ["a"]


async def test_a_restart_of_an_old_worker_does_not_turn_a_deployment_back(
    office: Office, prod: Environment, database: Database
) -> None:
    await office.catalogue.register(prod.id, manifest("old"))
    new = await office.catalogue.register(prod.id, manifest("new"))
    await database.execute(SESSION["open"], environment=prod.id, version=new.version.id)

    restarted = await office.catalogue.register(prod.id, manifest("old"))
    assert not restarted.is_current

    await database.execute(SESSION["lose"], version=new.version.id)
    returned = await office.catalogue.register(prod.id, manifest("old"))
    assert returned.is_current


async def test_going_back_on_purpose(office: Office, prod: Environment) -> None:
    old = await office.catalogue.register(prod.id, manifest("old"))
    await office.catalogue.register(prod.id, manifest("new"))

    await office.catalogue.promote(prod.id, old.version.name)

    offer = await office.catalogue.offer(prod.id)
    assert offer is not None
    assert offer.version == old.version
    with pytest.raises(NotFound):
        await office.catalogue.promote(prod.id, "20200101.1")


async def test_a_version_that_nobody_serves_gives_way(
    office: Office, prod: Environment, database: Database
) -> None:
    old = await office.catalogue.register(prod.id, manifest("old"))
    new = await office.catalogue.register(prod.id, manifest("new"))
    await database.execute(SESSION["open"], environment=prod.id, version=old.version.id)

    assert await office.catalogue.elect() == []
    assert await office.catalogue.elect(grace=0) == [prod.id]
    assert await office.catalogue.elect(grace=0) == []

    offer = await office.catalogue.offer(prod.id)
    assert offer is not None
    assert offer.version == old.version != new.version


async def test_declared_limits_follow_the_current_version(
    office: Office, dev: Environment, database: Database
) -> None:
    queue = QueueManifest("export", concurrency_limit=1, total_limit=5)
    await office.catalogue.register(dev.id, manifest("a", task("one"), queues=(queue,)))
    found = {each.name: each for each in await office.catalogue.queues(dev.id)}
    assert set(found) == {"export", "task/one"}
    assert (found["export"].concurrency_limit, found["export"].total_limit) == (1, 5)
    await database.execute(SESSION["fill"], environment=dev.id, queue="export")

    await office.catalogue.register(
        dev.id, manifest("b", queues=(QueueManifest("export", concurrency_limit=9),))
    )

    found = {each.name: each for each in await office.catalogue.queues(dev.id)}
    assert (found["export"].concurrency_limit, found["export"].total_limit) == (9, None)
    assert await database.fetch_value(SESSION["is_open"], environment=dev.id, queue="export")


async def test_a_paused_queue_stays_paused_through_deployments(
    office: Office, dev: Environment
) -> None:
    await office.catalogue.register(dev.id, manifest("a", task("one")))
    await office.pause(dev.id, "task/one")

    await office.catalogue.register(dev.id, manifest("b", task("one")))

    assert [queue.paused for queue in await office.catalogue.queues(dev.id)] == [True]
    with pytest.raises(NotFound):
        await office.pause(dev.id, "nothing")


async def test_another_server_may_be_behind_until_it_reads_again(
    office: Office, dev: Environment, database: Database
) -> None:
    other = Office(database)
    await office.catalogue.register(dev.id, manifest("a", task("one")))
    assert await other.catalogue.offer(dev.id) is not None
    await office.catalogue.register(dev.id, manifest("b", task("two")))

    fresh = await other.catalogue.offer(dev.id, fresh=True)

    assert fresh is not None
    assert list(fresh.tasks) == ["two"]


@pytest.mark.parametrize(
    "wrong",
    [
        manifest("a", task("")),
        manifest("a", task("x" * 513)),
        manifest("a", task("nul\0")),
        manifest("a", task("half\ud800")),
        manifest("a", task("same"), task("same")),
        manifest("a", task("one", queue="q" * 201)),
        manifest("a", queues=(QueueManifest("é" * 199 + "😀" * 100),)),
        manifest("a", queues=(QueueManifest("q", concurrency_limit=-1),)),
        manifest("a", queues=(QueueManifest("q", total_limit=2**40),)),
        manifest(""),
    ],
)
async def test_what_the_tables_cannot_hold_is_refused(
    office: Office, dev: Environment, wrong: object
) -> None:
    with pytest.raises(InvalidRequest):
        await office.catalogue.register(dev.id, wrong)  # type: ignore[arg-type]
