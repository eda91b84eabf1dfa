"""Triggering over HTTP, one run at a time and many at once."""

import msgspec
import pytest

from api_server import Api
from outlast.protocol.triggers import Trigger, Triggered


async def test_a_trigger_makes_a_run_that_a_worker_gets(api: Api) -> None:
    reply = await api.client.post(
        "/api/v1/tasks/hello/trigger", json={"payload": {"n": 1}, "options": {"tags": "org_1"}}
    )

    assert reply.status_code == 200
    claimed = await api.worker.claim(reply.json()["id"])
    assert claimed.claim.payload == '{"n":1}'
    assert claimed.claim.facts.tags == ("org_1",)


async def test_an_id_with_an_encoded_slash_and_space_is_one_id(api: Api) -> None:
    reply = await api.client.post("/api/v1/tasks/a%2Fb%20c/trigger", json={})

    assert reply.status_code == 200
    claimed = await api.worker.claim(reply.json()["id"])
    assert claimed.claim.facts.task == "a/b c"


async def test_the_answer_carries_a_token_that_reads_the_run(api: Api) -> None:
    reply = await api.client.post("/api/v1/tasks/hello/trigger", json={})

    token = await api.engine.tokens.verify(reply.headers["x-trigger-jwt"])
    run = reply.json()["id"]
    assert token.scopes == (f"read:runs:{run}", f"write:inputStreams:{run}")
    claims = msgspec.json.decode(reply.headers["x-trigger-jwt-claims"])
    assert claims["sub"] == api.platform.environment.id
    assert claims["pub"] is True


async def test_an_unknown_task_is_a_404_that_names_it(api: Api) -> None:
    reply = await api.client.post("/api/v1/tasks/helo/trigger", json={})

    assert reply.status_code == 404
    assert reply.json()["code"] == "unknown_task"
    assert "did you mean 'hello'" in reply.json()["error"]
    assert reply.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"metadata": [1]}, "metadata: input should be an object, or input should be a valid"),
        ({"tags": [1]}, "tags: input should be a valid string; tags.0: input should be a valid"),
        ({"queue": {}}, "queue.name: field required; queue: input should be a valid string"),
    ],
)
async def test_a_value_of_no_type_that_an_option_takes_is_told_by_the_option(
    api: Api, options: dict[str, object], told: str
) -> None:
    reply = await api.client.post("/api/v1/tasks/hello/trigger", json={"options": options})

    assert reply.status_code == 400
    assert reply.json()["error"].startswith(told)
    assert "[" not in reply.json()["error"]


async def test_an_idempotency_key_answers_with_the_run_there_is(api: Api) -> None:
    body = {"options": {"idempotencyKey": "order-1"}}

    first = await api.client.post("/api/v1/tasks/hello/trigger", json=body)
    second = await api.client.post("/api/v1/tasks/hello/trigger", json=body)

    assert first.json() == {"id": first.json()["id"], "isCached": False}
    assert second.json() == {"id": first.json()["id"], "isCached": True}


async def test_a_key_is_forgotten_by_the_run_that_holds_it(api: Api) -> None:
    first = await api.trigger(options={"idempotencyKey": "once"})
    path = f"/api/outlast/v1/runs/{first}/idempotency-key/reset"

    forgotten = await api.client.post(path)
    second = await api.trigger(options={"idempotencyKey": "once"})
    again = await api.client.post(path)

    assert (forgotten.status_code, forgotten.json()) == (200, {"id": first})
    assert second != first
    assert again.status_code == 404  # the second run holds it now
    assert await api.trigger(options={"idempotencyKey": "once"}) == second


async def test_a_repeated_request_is_the_same_request(api: Api) -> None:
    headers = {"x-trigger-request-idempotency-key": "request-1"}

    first = await api.client.post("/api/v1/tasks/hello/trigger", json={}, headers=headers)
    second = await api.client.post("/api/v1/tasks/hello/trigger", json={}, headers=headers)

    assert second.json() == first.json()


async def test_a_limit_is_a_422_that_names_the_field(api: Api) -> None:
    tags = [str(number) for number in range(11)]

    reply = await api.client.post("/api/v1/tasks/hello/trigger", json={"options": {"tags": tags}})

    assert reply.status_code == 422
    assert reply.json()["param"] == "tags"


async def test_coalesced_triggers_have_their_own_answers(api: Api) -> None:
    wanted = [
        Trigger(task="hello", payload="1", request_key="a"),
        Trigger(task="nobody"),
        Trigger(task="hello", payload="2", request_key="b"),
    ]

    reply = await api.client.post("/api/outlast/v1/triggers", content=msgspec.json.encode(wanted))

    answers = msgspec.json.decode(reply.content, type=list[Triggered])
    assert [answer.error is None for answer in answers] == [True, False, True]
    refusal = answers[1].error
    assert refusal is not None
    assert refusal.code == "unknown_task"
    for answer, payload in ((answers[0], "1"), (answers[2], "2")):
        assert (await api.worker.claim(answer.run_id)).claim.payload == payload


async def test_a_coalesced_request_that_is_none_is_a_400(api: Api) -> None:
    for content in (b"{", b"{}", b'[{"task": 1}]', b""):
        reply = await api.client.post("/api/outlast/v1/triggers", content=content)

        assert reply.status_code == 400


async def test_too_many_coalesced_triggers_are_refused_whole(api: Api) -> None:
    content = msgspec.json.encode([Trigger(task="hello")] * 257)

    reply = await api.client.post("/api/outlast/v1/triggers", content=content)

    assert reply.status_code == 413


async def test_no_triggers_are_no_problem(api: Api) -> None:
    reply = await api.client.post("/api/outlast/v1/triggers", content=b"[]")

    assert reply.json() == []


async def test_a_token_may_trigger_the_task_it_names_once(api: Api) -> None:
    token = await api.engine.tokens.mint(
        api.platform.environment, ("trigger:tasks:hello",), one_time=True
    )

    async with api.with_bearer(token) as client:
        other = await client.post("/api/v1/tasks/a%2Fb%20c/trigger", json={})
        first = await client.post("/api/v1/tasks/hello/trigger", json={})
        second = await client.post("/api/v1/tasks/hello/trigger", json={})
        many = await client.post("/api/outlast/v1/triggers", content=b"[]")

    assert [reply.status_code for reply in (other, first, second, many)] == [403, 200, 422, 403]
    assert other.json() == {
        "error": "Unauthorized",
        "code": "unauthorized",
        "param": "access_token",
        "type": "authorization",
    }
