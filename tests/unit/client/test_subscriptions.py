"""A feed as the client reads it: rows into runs, and what it does when an answer does not come."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
import pytest

from outlast.client import subscriptions
from outlast.client.errors import ApiError, NotFoundError, ServerError, TransportError, api_error
from outlast.client.requests import Reply, read
from outlast.client.subscriptions import Feed, RunUpdate, UpdateError
from outlast.protocol.realtime import array, array_of
from outlast.protocol.statuses import NAMES, Status

ROW = {
    "id": "1",
    "friendlyId": "run_1",
    "taskIdentifier": "hello",
    "status": "EXECUTING",
    "createdAt": "2026-01-02T03:04:05.678",
    "updatedAt": "2026-01-02T03:04:06.000",
}


def answer(
    feed: Feed, *rows: Mapping[str, str | None], operation: str = "insert"
) -> list[RunUpdate]:
    """Let a server answer the next request of a feed."""
    messages = [
        {"key": f"k{row.get('id', '1')}", "value": row, "headers": {"operation": operation}}
        for row in rows
    ]
    body = msgspec.json.encode([*messages, {"headers": {"control": "up-to-date"}}])
    headers = {"electric-handle": "h", "electric-offset": "5_7", "electric-up-to-date": ""}
    return feed.received(read(feed.request(), Reply(200, body, headers)))


def test_it_asks_for_everything_and_then_for_changes() -> None:
    feed = subscriptions.tagged(["a", "b"], 90, ["payload"])
    first = dict(feed.request().query)
    answer(feed, ROW)
    second = feed.request()

    assert first == {
        "tags": "a,b", "createdAt": "90s", "skipColumns": "payload", "log": "full", "offset": "-1",
    }  # fmt: skip
    assert dict(second.query) == first | {
        "offset": "5_7", "handle": "h", "live": "true", "cursor": "",
    }  # fmt: skip
    assert second.patience > 23


def test_rows_become_runs() -> None:
    feed = subscriptions.run("run_1")
    [update] = answer(
        feed,
        {
            **ROW,
            "status": "COMPLETED_SUCCESSFULLY",
            "completedAt": "2026-01-02T03:04:07.000",
            "payload": '{"json":{"a":1}}',
            "payloadType": "application/super+json",
            "output": '"done"',
            "outputType": "application/json",
            "metadata": '{"progress":1}',
            "runTags": array(("a", 'b"\\')),
        },
    )

    assert (update.id, update.status, update.is_success) == ("run_1", "COMPLETED", True)
    assert update.created_at == datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
    assert (update.payload, update.output) == ({"a": 1}, "done")
    assert update.metadata == {"progress": 1}
    assert update.tags == ("a", 'b"\\')
    assert feed.is_over


def test_updates_are_merged_into_what_is_known() -> None:
    feed = subscriptions.run("run_1")
    answer(feed, {**ROW, "payload": "1", "payloadType": "application/json"})
    [update] = answer(feed, {"status": "WAITING_TO_RESUME"}, operation="update")

    assert (update.status, update.payload) == ("WAITING", 1)
    assert not feed.is_over


@pytest.mark.parametrize("status", Status)
def test_every_status_has_the_name_that_the_api_gives_it(status: Status) -> None:
    [update] = answer(subscriptions.run("run_1"), {**ROW, "status": NAMES[status].realtime})

    assert update.status == NAMES[status].api


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (
            {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no", "stackTrace": "s"},
            UpdateError(type="ValueError", message="no", stack="s"),
        ),
        (
            {"type": "INTERNAL_ERROR", "code": "TASK_RUN_CANCELLED", "message": "m"},
            UpdateError(type="TASK_RUN_CANCELLED", message="m"),
        ),
        (
            {"type": "STRING_ERROR", "raw": "too late"},
            UpdateError(type="STRING_ERROR", message="too late"),
        ),
        (
            {"type": "CUSTOM_ERROR", "raw": '{"name":"Declined","message":"no","data":{"a":1}}'},
            UpdateError(type="Declined", message="no"),
        ),
    ],
)
def test_errors_are_told_in_one_form(told: dict[str, str], error: UpdateError) -> None:
    row = {**ROW, "status": "COMPLETED_WITH_ERRORS", "error": json.dumps(told)}

    [update] = answer(subscriptions.run("run_1"), row)

    assert update.error == error


def test_who_has_to_begin_anew_does_so_under_the_new_handle() -> None:
    feed = subscriptions.run("run_1")
    answer(feed, ROW)

    feed.failed(api_error(409, "must-refetch", headers={"electric-handle": "h2"}))

    assert dict(feed.request().query) == {"log": "full", "offset": "-1", "handle": "h2"}


def test_a_server_that_is_away_is_waited_for_longer_and_longer() -> None:
    feed = subscriptions.run("run_1")
    answer(feed, ROW)

    waits = [feed.failed(TransportError("away")) for _ in range(30)]

    assert waits[0] == pytest.approx(0.1)
    assert waits == sorted(waits)
    assert waits[-1] == 10


@pytest.mark.parametrize(
    "error",
    [TransportError("away"), ServerError("no", status=503), NotFoundError("no", status=404)],
)
def test_who_never_got_an_answer_hears_why(error: ApiError | TransportError) -> None:
    with pytest.raises(type(error)):
        subscriptions.run("run_1").failed(error)


def test_a_refusal_ends_a_feed() -> None:
    feed = subscriptions.run("run_1")
    answer(feed, ROW)

    with pytest.raises(ApiError):
        feed.failed(api_error(403, "Unauthorized"))


@pytest.mark.parametrize("texts", [(), ("",), ("a,b", '"', "\\", "{}", "\n", "é")])
def test_array_literals_come_back_as_they_were(texts: tuple[str, ...]) -> None:
    assert array_of(array(texts)) == texts
