"""Waitpoint tokens over HTTP: made with a key, completed with a public token or a callback URL."""

import logging
from typing import Any

import httpx
import jwt
import pytest

from api_server import Api
from outlast.protocol.waitpoints import is_callback

TOKENS = "/api/v1/waitpoints/tokens"


async def create(api: Api, **body: object) -> dict[str, Any]:
    reply = await api.client.post(TOKENS, json=body)
    assert reply.status_code == 200, reply.text
    made: dict[str, Any] = reply.json()
    return made | {"jwt": reply.headers["x-trigger-jwt"]}


async def retrieve(api: Api, token: str) -> dict[str, Any]:
    reply = await api.client.get(f"{TOKENS}/{token}")
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def test_a_token_is_made_and_completed_with_a_key(api: Api) -> None:
    made = await create(api, timeout="1h", tags=["a"], idempotencyKey="k")
    before = await retrieve(api, made["id"])

    reply = await api.client.post(f"{TOKENS}/{made['id']}/complete", json={"data": {"ok": True}})
    after = await retrieve(api, made["id"])

    assert made["id"].startswith("waitpoint_")
    assert (made["isCached"], before["status"], before["tags"]) == (False, "WAITING", ["a"])
    assert before["idempotencyKey"] == "k"
    assert {"completedAt", "output"}.isdisjoint(before)
    assert before["url"] == made["url"] == after["url"]
    assert reply.json() == {"success": True}
    assert (after["status"], after["output"]) == ("COMPLETED", '{"ok":true}')
    assert (after["outputType"], after["outputIsError"]) == ("application/json", False)


async def test_the_first_completion_wins_and_all_are_told_of_success(api: Api) -> None:
    made = await create(api)
    for value in (1, 2):
        reply = await api.client.post(f"{TOKENS}/{made['id']}/complete", json={"data": value})
        assert (reply.status_code, reply.json()) == (200, {"success": True})
    late = await api.client.post(made["url"], json=3)

    assert late.json() == {"success": True}
    assert (await retrieve(api, made["id"]))["output"] == "1"


async def test_no_data_is_no_output(api: Api) -> None:
    made = await create(api)

    await api.client.post(f"{TOKENS}/{made['id']}/complete", json={})

    found = await retrieve(api, made["id"])
    assert found["status"] == "COMPLETED"
    assert "output" not in found


async def test_an_equal_key_gives_the_same_token_until_it_expires(api: Api) -> None:
    first = await create(api, idempotencyKey="approve-1", idempotencyKeyTTL="1h")
    again = await create(api, idempotencyKey="approve-1")
    await api.platform.sql("update outlast.waitpoint set idempotency_expires_at = created_at")
    later = await create(api, idempotencyKey="approve-1")

    assert (again["id"], again["isCached"], again["url"]) == (first["id"], True, first["url"])
    assert later["id"] != first["id"]


async def test_a_repeated_request_makes_one_token(api: Api) -> None:
    headers = {"x-trigger-request-idempotency-key": "r1"}

    replies = [await api.client.post(TOKENS, json={}, headers=headers) for _ in range(2)]

    assert replies[0].json() == replies[1].json()


async def test_the_public_token_completes_its_token_only_and_lives_as_long_as_the_wait(
    api: Api,
) -> None:
    made, other = await create(api, timeout="90d"), await create(api)

    async with api.with_bearer(made["jwt"]) as browser:
        refused = await browser.post(f"{TOKENS}/{other['id']}/complete", json={"data": 1})
        read = await browser.get(f"{TOKENS}/{made['id']}")
        done = await browser.post(f"{TOKENS}/{made['id']}/complete", json={"data": 1})

    claims = jwt.decode(made["jwt"], options={"verify_signature": False})
    assert claims["scopes"] == [f"write:waitpoints:{made['id']}"]
    assert claims["exp"] - claims["iat"] == pytest.approx(90 * 86_400, abs=2)
    assert (refused.status_code, read.status_code, done.status_code) == (403, 403, 200)
    assert done.headers["access-control-allow-origin"] == "*"


async def test_the_whole_body_of_a_callback_is_the_output(api: Api) -> None:
    """What is no JSON, or nothing, is an empty object."""
    for body, output in ((b'{"url": "x"}', '{"url": "x"}'), (b"", "{}"), (b"a=1&b", "{}")):
        made = await create(api)
        async with api.with_bearer(None) as partner:
            length = {"content-length": str(len(body))}
            reply = await partner.post(made["url"], content=body, headers=length)
        assert (reply.status_code, reply.json()) == (200, {"success": True})
        assert "access-control-allow-origin" not in reply.headers
        assert (await retrieve(api, made["id"]))["output"] == output


async def test_a_callback_is_refused_for_a_wrong_secret_no_length_or_too_much(api: Api) -> None:
    made = await create(api)
    wrong = made["url"][:-1] + ("0" if made["url"][-1] != "0" else "1")
    elsewhere = (await create(api))["url"].replace("/callback/", "/callback/x")

    async def stream() -> Any:
        yield b"{}"

    async with api.with_bearer(None) as partner:
        statuses = [
            (await partner.post(wrong, json={})).status_code,
            (await partner.post(elsewhere, json={})).status_code,
            (await partner.post(made["url"], content=stream())).status_code,
            (await partner.post(made["url"], content=b" " * (1024 * 1024 + 1))).status_code,
            (await partner.options(made["url"])).status_code,
            (await partner.get(made["url"])).status_code,
        ]

    assert statuses == [401, 401, 411, 413, 405, 405]
    assert (await retrieve(api, made["id"]))["status"] == "WAITING"


async def test_the_secret_of_a_callback_is_stored_hashed_and_stands_in_no_log(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """Not when it works, not when it is refused, and not when the server fails under it."""
    made = await create(api)
    secret = made["url"].rpartition("/")[2]
    assert len(bytes.fromhex(secret)) == 32
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the test's own client

    async with api.with_bearer(None) as partner:
        await partner.post(made["url"], content=b" " * (1024 * 1024 + 1))
        await api.platform.sql("alter table outlast.waitpoint rename to gone")
        with pytest.raises(Exception):  # noqa: B017,PT011 - whatever the transport passes on
            (await partner.post(made["url"], json={})).raise_for_status()
        await api.platform.sql("alter table outlast.gone rename to waitpoint")
        await partner.post(made["url"], json={})

    rows = await api.platform.sql("select w::text as text from outlast.waitpoint w")
    assert secret not in rows[0]["text"]
    assert secret not in caplog.text
    assert caplog.records
    assert is_callback(httpx.URL(made["url"]).path)


async def test_a_token_of_another_environment_is_not_found(api: Api) -> None:
    made = await create(api)
    environment = await api.engine.tenancy.environment("proj_test", "prod")
    [key] = await api.engine.keys.roots(environment.id)

    async with api.with_bearer(key) as stranger:
        replies = [
            await stranger.get(f"{TOKENS}/{made['id']}"),
            await stranger.post(f"{TOKENS}/{made['id']}/complete", json={}),
            await stranger.post(f"{TOKENS}/waitpoint_1/complete", json={}),
        ]
        listed = (await stranger.get(TOKENS)).json()["data"]

    assert [reply.status_code for reply in replies] == [404, 404, 404]
    assert listed == []
    assert (await retrieve(api, made["id"]))["status"] == "WAITING"


async def test_a_list_is_filtered_and_paged(api: Api) -> None:
    ids = [(await create(api, tags=[f"t{n % 2}"], idempotencyKey=f"k{n}"))["id"] for n in range(5)]
    await api.client.post(f"{TOKENS}/{ids[0]}/complete", json={})

    async def listed(**query: str) -> list[str]:
        names = {f"filter[{name}]": value for name, value in query.items()}
        reply = await api.client.get(TOKENS, params=names)
        assert reply.status_code == 200, reply.text
        return [item["id"] for item in reply.json()["data"]]

    assert await listed() == ids[::-1]
    assert await listed(status="COMPLETED") == ids[:1]
    assert await listed(status="WAITING,TIMED_OUT", tags="t0") == [ids[4], ids[2]]
    assert await listed(idempotencyKey="k3") == [ids[3]]
    assert await listed(**{"createdAt][period": "1d"}) == ids[::-1]
    assert await listed(**{"createdAt][to": "1000"}) == []

    first = (await api.client.get(TOKENS, params={"page[size]": "2"})).json()
    after = first["pagination"]["next"]
    second = (await api.client.get(TOKENS, params={"page[size]": "2", "page[after]": after})).json()
    before = second["pagination"]["previous"]
    back = (await api.client.get(TOKENS, params={"page[size]": "2", "page[before]": before})).json()

    assert [item["id"] for item in second["data"]] == [ids[2], ids[1]]
    assert back["data"] == first["data"]
    assert "previous" not in back["pagination"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"timeout": "soon"}, "timeout"),
        ({"tags": ["x"] * 11}, "tags"),
        ({"tags": [""]}, "tags"),
        ({"idempotencyKey": ""}, "idempotencyKey"),
        ({"idempotencyKeyTTL": "x"}, "idempotencyKeyTTL"),
    ],
)
async def test_a_token_that_cannot_be_is_refused_with_the_field(
    api: Api, body: dict[str, object], param: str
) -> None:
    reply = await api.client.post(TOKENS, json=body)

    assert reply.status_code == 422, reply.text
    assert reply.json()["param"] == param


async def test_bad_json_and_unknown_filters_are_refused(api: Api) -> None:
    made = await create(api)

    bad = await api.client.post(f"{TOKENS}/{made['id']}/complete", content=b'{"data": ')
    status = await api.client.get(TOKENS, params={"filter[status]": "DONE"})
    cursor = await api.client.get(TOKENS, params={"page[after]": "run_1"})

    assert [reply.status_code for reply in (bad, status, cursor)] == [400, 400, 400]


async def test_a_wait_of_a_run_for_a_date_is_a_token_that_is_completed_then(api: Api) -> None:
    run = await api.trigger(options={"delay": "1h"})
    path = f"/engine/v1/runs/{run}/wait/duration"
    wanted = {"date": "2030-01-01T01:00:00+01:00", "idempotencyKey": "nap"}

    made = (await api.client.post(path, json=wanted)).json()
    again = (await api.client.post(path, json=wanted | {"date": "2031-01-01T00:00:00Z"})).json()
    before = await retrieve(api, made["waitpoint"]["id"])
    past = await api.client.post(path, json={"date": "1969-07-20T20:17:00Z"})

    assert made["waitUntil"] == before["timeoutAt"] == "2030-01-01T00:00:00.000Z"
    assert (before["status"], again) == ("WAITING", made)
    token = past.json()["waitpoint"]["id"]
    waiting = await api.worker.claim(await api.trigger())
    await waiting.call("token#0", "token", target=token)
    assert (await waiting.result("token#0")).ok
    over = await retrieve(api, token)
    assert over["status"] == "COMPLETED"
    assert {"output", "outputIsError"}.isdisjoint(over)


async def test_only_a_run_that_goes_on_waits_for_a_token_that_is_there(api: Api) -> None:
    going = await api.trigger(options={"delay": "1h"})
    ended = await api.trigger(options={"delay": "1h"})
    await api.client.post(f"/api/v2/runs/{ended}/cancel")
    token = (await create(api))["id"]

    async def wait(run: str, token: str) -> int:
        path = f"/engine/v1/runs/{run}/waitpoints/tokens/{token}/wait"
        return (await api.client.post(path)).status_code

    late = await api.client.post(
        f"/engine/v1/runs/{ended}/wait/duration", json={"date": "2030-01-01T00:00:00Z"}
    )

    assert [await wait(going, token), await wait(ended, token)] == [200, 422]
    assert [await wait("run_none", token), await wait(going, "waitpoint_none")] == [404, 404]
    assert (late.status_code, late.json()["code"]) == (422, "has_ended")
