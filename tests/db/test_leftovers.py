"""What belongs to no run (any more) and holds nothing back goes; what somebody needs stays."""

from datetime import UTC, datetime

import asyncpg

from engines import Platform
from fake_worker import FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.engine.liveness import SESSIONS
from outlast.protocol.manifests import QueueManifest, RateManifest
from outlast.protocol.triggers import Trigger

FUTURE = 4_102_444_800_000  # 2100: every id is older


async def prune(engine: Engine) -> None:
    await engine.retention.run_once(moment=FUTURE)


async def finish(worker: FakeWorker, count: int) -> None:
    for _ in range(count):
        run = await worker.claim()
        run.complete()
        assert await worker.engine.ends.wait(worker.environment.id, run.run, 5)


async def keys_of_lanes(place: Platform) -> list[str]:
    return [row["key"] for row in await place.sql("select key from outlast.lane order by key")]


async def test_request_and_idempotency_keys_go_by_their_own_age(
    engine: Engine, place: Platform
) -> None:
    await FakeWorker.open(engine, place.environment, manifest("job"), shared=0)
    wanted = [
        Trigger(task="job", request_key=key, idempotency_key=f"{n}" * 64)
        for n, key in enumerate(("r0", "r1", "r2", "outbox_r3", "outbox_r4"))
    ]
    await engine.trigger(place.environment, wanted)
    await place.sql(
        "update outlast.request set created_at = now() - interval '3 days' where key ~ 'r(1|3)$'"
    )
    await place.sql(
        "update outlast.request set created_at = now() - interval '31 days' where key like '%r4'"
    )
    await place.sql(
        "update outlast.idempotency set expires_at = now() - interval '1 s' where key like '2%'"
    )

    await prune(engine)

    requests = await place.sql("select right(key, 2) as key from outlast.request order by 1")
    keys = await place.sql("select left(key, 1) as key from outlast.idempotency order by 1")
    assert [row["key"] for row in requests] == ["r0", "r2", "r3"]
    assert [row["key"] for row in keys] == ["0", "1", "3", "4"]


async def test_a_key_whose_run_was_deleted_goes_though_it_has_time_left(
    engine: Engine, place: Platform
) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    await engine.trigger(place.environment, [Trigger(task="job", idempotency_key="k" * 64)])
    await finish(worker, 1)
    [run] = await place.sql("select run_id from outlast.run_end")
    await engine.retention.delete(place.environment.id, run["run_id"])

    await prune(engine)

    assert await place.sql("select from outlast.idempotency") == []


async def test_a_key_that_a_turn_gives_away_is_passed_over(engine: Engine, place: Platform) -> None:
    """Waiting for it, while holding others, could stop the turn for good."""
    await FakeWorker.open(engine, place.environment, manifest("job"), shared=0)
    await engine.trigger(
        place.environment, [Trigger(task="job", idempotency_key=key * 64) for key in "ab"]
    )
    await place.sql("update outlast.idempotency set expires_at = now() - interval '1 s'")
    turn = await asyncpg.connect(place.url)
    try:
        async with turn.transaction():
            await turn.execute("select from outlast.idempotency where key like 'a%' for update")
            await prune(engine)
    finally:
        await turn.close()

    assert [row[0][0] for row in await place.sql("select key from outlast.idempotency")] == ["a"]


async def test_keys_of_waits_that_hold_no_more_go(engine: Engine, place: Platform) -> None:
    for key, days in (("old", -1), ("young", 1)):
        await place.sql(
            "insert into outlast.wait_key values ($1, $2, now(), now() + $3 * interval '1 day')",
            place.environment.id,
            key,
            days,
        )

    await prune(engine)

    assert [row["key"] for row in await place.sql("select key from outlast.wait_key")] == ["young"]


async def test_large_payloads_without_a_run_go(engine: Engine, place: Platform) -> None:
    await FakeWorker.open(engine, place.environment, manifest("job"), shared=0)
    large = '"' + "x" * 20_000 + '"'
    await engine.trigger(place.environment, [Trigger(task="job", payload=large)])
    [kept] = await place.sql("select id from outlast.blob")
    await place.sql(
        "insert into outlast.blob (id, environment_id, data) values ('blob_0', $1, '1')",
        place.environment.id,
    )

    await prune(engine)
    await prune(engine)

    assert await place.sql("select id from outlast.blob") == [kept]


async def test_lanes_with_nothing_to_do_go_and_are_made_anew(
    engine: Engine, place: Platform
) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"), shared=1)
    waited = Trigger(task="job", concurrency_key="waiting")
    await engine.trigger(place.environment, [waited])
    run = await worker.claim()
    await run.call("wait#0", "wait", seconds=3600)
    assert await run.suspend("wait#0")
    for key in ("a", "b"):
        await engine.trigger(place.environment, [Trigger(task="job", concurrency_key=key)])
        await finish(worker, 1)
    delayed = Trigger(task="job", concurrency_key="delayed", delay=3600)
    busy = Trigger(task="job", concurrency_key="executing")
    queued = Trigger(task="job", concurrency_key="queued")
    await engine.trigger(place.environment, [delayed, busy])
    await worker.claim()
    await engine.trigger(place.environment, [queued])

    await prune(engine)
    kept = await keys_of_lanes(place)
    await engine.trigger(place.environment, [Trigger(task="job", concurrency_key="a")])

    assert set(kept) == {"delayed", "executing", "queued", "waiting"}
    assert set(await keys_of_lanes(place)) == {*kept, "a"}


async def test_a_lane_ahead_of_the_others_stays(engine: Engine, place: Platform) -> None:
    """It would come back with less virtual time than it has used: a share too many."""
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    await engine.trigger(place.environment, [Trigger(task="job", concurrency_key="a")])
    await finish(worker, 1)
    await place.sql("update outlast.lane set vtime = vtime + 100")

    await prune(engine)

    assert await keys_of_lanes(place) == ["a"]


async def test_paces_and_groups_that_hold_nothing_back_go(engine: Engine, place: Platform) -> None:
    queue = QueueManifest("q", rate=RateManifest(100, 60.0, burst=2))
    offered = manifest("job", queues=(queue,), queue="q")
    worker = await FakeWorker.open(engine, place.environment, offered)
    for key in ("a", "b"):
        await engine.trigger(
            place.environment, [Trigger(task="job", concurrency_key=key, fairness_group=f"g{key}")]
        )
        await finish(worker, 1)
    [row] = await place.sql("select count(*) from outlast.pace")
    assert row[0] == 2
    await place.sql("update outlast.pace set arrival = now() - interval '1 h' where key = 'a'")
    await place.sql("update outlast.fairness_group set tail = -1 where name = 'ga'")
    await place.sql("update outlast.fairness_group set tail = 1000 where name = 'gb'")

    await prune(engine)

    assert [row["key"] for row in await place.sql("select key from outlast.pace")] == ["b"]
    groups = await place.sql("select name from outlast.fairness_group")
    assert [row["name"] for row in groups] == ["gb"]


async def test_used_tokens_go_when_their_time_is_over(engine: Engine, place: Platform) -> None:
    """Until then a second use must be told from a first."""
    [environment] = [one for one in await engine.tenancy.environments() if one.slug == "dev"]
    await FakeWorker.open(engine, environment, manifest("job"))
    for seconds in (60, 70):
        text = await engine.tokens.mint(
            environment, ("trigger:tasks:job",), one_time=True, seconds=seconds
        )
        token = await engine.tokens.verify(text)
        await engine.trigger(environment, [Trigger(task="job")], spend=token)
    old = datetime(2026, 1, 1, tzinfo=UTC)
    await place.sql(
        "update outlast.used_token set expires_at = $1"
        " where hash = (select hash from outlast.used_token order by hash limit 1)",
        old,
    )

    assert await engine.tokens.prune() == 1

    [row] = await place.sql("select expires_at > now() from outlast.used_token")
    assert row[0]


async def test_lost_sessions_go_with_their_mail(engine: Engine, place: Platform) -> None:
    for session in ("session_gone", "session_live"):
        await place.sql(
            "insert into outlast.mail (session_id, kind, run_id, token)"
            " values ($1, 'drop', 'r', 1)",
            session,
        )
        await place.sql(
            "insert into outlast.session (id, environment_id, version_id, name, host, pid,"
            " heartbeat_at, lost_at, created_at) values ($1, $2, 'v', 'w', 'h', 1, now(),"
            " case when $1 <> 'session_live' then now() - interval '2 min' end, now())",
            session,
            place.environment.id,
        )
    await engine.database.execute(SESSIONS.bury)

    sessions = {row["id"] for row in await place.sql("select id from outlast.session")}
    mail = {row["session_id"] for row in await place.sql("select session_id from outlast.mail")}
    assert (sessions, mail) == ({"session_live"}, {"session_live"})
