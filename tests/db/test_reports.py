"""Reports are stored once: metadata operations, tags and lines, by their place in the attempt."""

import json
from collections.abc import AsyncIterator

import pytest

from api_server import Api, running_api
from fake_worker import Claimed
from outlast.engine.errors import Conflict, InvalidRequest
from outlast.protocol.frames import Kind, frame
from outlast.protocol.messages import (
    Crash,
    Empty,
    Held,
    LogLine,
    MetadataOperation,
    Report,
    Reported,
    Started,
)
from outlast.protocol.metadata import path_of
from outlast.protocol.outcomes import RunError
from outlast.protocol.triggers import Trigger
from outlast.worker.amending import amend

CASES = (
    ("set", "a", 1),
    ("set", "$.deep.er", [1, {"x": 2}]),
    ("set", "$.deep.er[1].x", None),
    ("set", "$.deep.er[0]", "first"),
    ("set", "$.a.inside", True),
    ("increment", "n", 2),
    ("increment", "n", -5),
    ("increment", "a", 1),
    ("append", "list", 1),
    ("append", "list", True),
    ("append", "list", {"k": [1]}),
    ("append", "$.deep.er", 4),
    ("append", "n", "now a list"),
    ("remove", "list", 1),
    ("remove", "list", {"k": [1]}),
    ("remove", "missing", 1),
    ("remove", "a", 1),
    ("delete", "$.deep.er[0]", None),
    ("delete", "$.nowhere.at.all", None),
    ("delete", "a", None),
    ("update", "", {"whole": "new"}),
    ("set", "$.made['on the way'].here", 1),
)


@pytest.fixture
async def api(fresh_url: str) -> AsyncIterator[Api]:
    async with running_api(fresh_url) as api:
        yield api


def operation(
    ordinal: int, kind: str = "increment", key: str = "n", value: object = 1, **more: str
) -> MetadataOperation:
    path = () if kind == "update" else path_of(key)
    scope = more.pop("scope", "")
    return MetadataOperation(scope, ordinal, kind, path, json.dumps(value), **more)  # type: ignore[arg-type]


async def report(claimed: Claimed, **reports: object) -> None:
    await claimed.ack(claimed.send(Kind.REPORT, Report(**reports)), Empty)  # type: ignore[arg-type]


async def metadata(api: Api, run: str) -> object:
    return json.loads(
        (await api.engine.runs.retrieve(api.platform.environment.id, run)).metadata or "{}"
    )


def line(ordinal: int, message: str, scope: str = "") -> LogLine:
    return LogLine(float(ordinal), "LOG", message, scope, ordinal)


async def lines(api: Api, run: str) -> list[str]:
    found = await api.engine.reports.lines(api.platform.environment.id, run)
    return [each.message for each in found]


async def test_the_server_applies_operations_as_the_worker_does(api: Api) -> None:
    claimed = await api.worker.claim(await api.trigger())
    expected: dict[str, object] = {}
    for n, (kind, key, value) in enumerate(CASES, 1):
        made = operation(n, kind, key, value)
        expected = amend(expected, made)

        await report(claimed, metadata=(made,))

        assert await metadata(api, claimed.run) == expected, (kind, key, value)


async def test_an_operation_counts_once_in_its_attempt(api: Api) -> None:
    claimed = await api.worker.claim(await api.trigger())

    for _ in range(2):
        await report(claimed, metadata=(operation(1), operation(2), operation(1, scope="~t#0")))

    assert await metadata(api, claimed.run) == {"n": 3}


async def test_the_next_attempt_counts_anew(api: Api) -> None:
    claimed = await api.worker.claim(await api.trigger())
    await report(claimed, metadata=(operation(1),), logs=(line(1, "first"),))
    claimed.fail(retry_in=0.0)
    again = await api.worker.claim(claimed.run)

    assert (again.claim.positions, again.claim.lines) == ({}, {})
    await report(again, metadata=(operation(1, "set", "other", 5),), logs=(line(1, "second"),))

    assert await metadata(api, claimed.run) == {"n": 1, "other": 5}
    assert await lines(api, claimed.run) == ["first", "second"]


async def test_a_stale_token_reports_nothing(api: Api) -> None:
    claimed = await api.worker.claim(await api.trigger())
    claimed.token -= 1

    claimed.send(Kind.REPORT, Report((operation(1),), ("late",), (line(1, "late"),)))
    claimed.token += 1
    await report(claimed, logs=(line(1, "fresh"),))

    assert await lines(api, claimed.run) == ["fresh"]
    assert await metadata(api, claimed.run) == {}


async def test_children_count_in_their_parent_and_root(api: Api) -> None:
    parent = await api.worker.claim(await api.trigger())
    called = await parent.call("child:hello#0", "child", Trigger(task="hello"))
    child = await api.worker.claim(str(called.runs[0].run_id))
    sent = (operation(1, target="parent"), operation(2, target="root"), operation(3))

    for _ in range(2):
        await report(child, metadata=sent)
    await report(parent, metadata=(operation(1, target="parent"),))

    assert await metadata(api, parent.run) == {"n": 3}
    assert await metadata(api, child.run) == {"n": 1}


async def test_what_would_be_too_large_is_left_out_and_said(api: Api) -> None:
    claimed = await api.worker.claim(await api.trigger())
    huge = "x" * 200_000

    await report(
        claimed,
        metadata=(
            operation(1, "set", "a", huge),
            operation(2, "set", "b", huge),
            operation(3, "set", "c", 1),
        ),
    )

    assert await metadata(api, claimed.run) == {"a": huge, "c": 1}
    [event] = await api.engine.runs.events(api.platform.environment.id, claimed.run)
    assert event.kind == "metadata_full"
    with pytest.raises(InvalidRequest, match="256 KB"):
        await api.engine.reports.revise(
            api.platform.environment.id,
            claimed.run,
            [operation(0, "set", "c", 2), operation(0, "set", "d", huge)],
        )
    assert await metadata(api, claimed.run) == {"a": huge, "c": 1}


async def test_metadata_is_closed_an_hour_after_the_end(api: Api) -> None:
    claimed = await api.worker.claim(await api.trigger())
    claimed.complete("1")
    await api.ended(claimed.run)
    environment = api.platform.environment.id

    assert await api.engine.reports.revise(environment, claimed.run, [operation(0)]) == '{"n": 1}'
    await api.platform.sql(
        "update outlast.run_end set finished_at = finished_at - interval '61 minutes'"
    )
    with pytest.raises(Conflict, match="an hour ago"):
        await api.engine.reports.revise(environment, claimed.run, [operation(0)])


async def test_a_line_counts_once_in_its_attempt(api: Api) -> None:
    claimed = await api.worker.claim(await api.trigger())

    await report(claimed, logs=(line(1, "a"), line(2, "b")))
    await report(claimed, logs=(line(2, "b"), line(3, "c"), line(1, "d", "~t#0")))

    assert await lines(api, claimed.run) == ["a", "b", "c", "d"]


async def test_a_cold_claim_knows_how_far_the_reports_got(api: Api) -> None:
    claimed = await api.worker.claim(await api.trigger())
    claimed.send(Kind.STARTED, Started())
    said = (line(1, "a"), line(2, "b", "~t#0"), line(7, "c", "!thread"))
    await report(claimed, metadata=(operation(4),), logs=said)

    crash = Crash((Held(claimed.run, claimed.token),), None, RunError("crashed", "Died", "gone"))
    api.worker.send(frame(Kind.CRASH, crash))
    again = await api.worker.claim(claimed.run)

    assert again.claim.resume == "cold"
    assert again.claim.positions == {"": 4}
    assert again.claim.lines == {"": 1, "~t#0": 2}


async def test_the_eleventh_tag_finds_no_room(api: Api) -> None:
    run = await api.trigger(options={"tags": ["t0"]})
    claimed = await api.worker.claim(run)

    await report(claimed, tags=tuple(f"t{n}" for n in range(8)))
    await report(claimed, tags=("t8", "t0", "t9", "too", "many"))

    found = await api.engine.runs.retrieve(api.platform.environment.id, run)
    assert len(found.tags) == 10
    assert {f"t{n}" for n in range(8)} < set(found.tags)


async def test_a_report_can_ask_for_the_metadata_of_now(api: Api) -> None:
    claimed = await api.worker.claim(await api.trigger())
    await api.engine.reports.revise(
        api.platform.environment.id, claimed.run, [operation(0, "set", "who", "api")]
    )

    number = claimed.send(Kind.REPORT, Report((operation(1),), refresh=True))
    answer = await claimed.ack(number, Reported)

    assert json.loads(answer.metadata or "") == {"who": "api", "n": 1}
