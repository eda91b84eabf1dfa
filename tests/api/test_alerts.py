"""Alerts over HTTP, and what arrives: signed webhooks, a line in Slack, a letter."""

import asyncio
import email
import email.policy
import hashlib
import hmac
import json
import smtplib
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from api_server import Api, running_api
from fake_worker import manifest
from outlast.engine.tokens import AUDIENCE, ISSUER
from outlast.server import notifier
from outlast.server.mail import MailServer
from polling import until
from receivers import Mail, Web, mail, web

PATH = "/api/outlast/v1/alerts"
FAILED = "alert.run.failed"
EVERY = [FAILED, "alert.error", "alert.deployment.success"]


@pytest.fixture
async def post() -> AsyncIterator[Mail]:
    async with mail() as found:
        yield found


@pytest.fixture
async def site() -> AsyncIterator[Web]:
    async with web() as found:
        yield found


@pytest.fixture
async def api(fresh_url: str, post: Mail) -> AsyncIterator[Api]:
    """Return a server that sends e-mail and knows its public address."""
    server = MailServer(host="127.0.0.1", port=post.port, sender="outlast@example.com")
    async with running_api(fresh_url, mail=server, address="https://jobs.example.com") as api:
        yield api


async def make(
    api: Api, address: str, channel: str = "webhook", types: list[str] = EVERY
) -> dict[str, Any]:
    wanted = {"name": "ops", "channel": channel, "address": address, "types": types}
    reply = await api.client.post(PATH, json=wanted)
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made


async def fail(api: Api, message: str = "boom") -> str:
    run = await api.trigger(options={"tags": ["t"], "idempotencyKey": "k"})
    (await api.worker.claim(run)).fail(message)
    await api.ended(run)
    return run


def deliver(api: Api) -> None:
    api.engine.deliver_alerts(api.app.state.services.notifier.send)


async def arrived(found: list[Any], count: int = 1) -> None:
    await until(lambda: len(found) >= count, seconds=20)


async def settled(api: Api, alert: dict[str, Any]) -> dict[str, Any]:
    """Wait until an alert has nothing to tell, or could not."""
    async with asyncio.timeout(20):
        while True:
            found: dict[str, Any] = (await api.client.get(f"{PATH}/{alert['id']}")).json()
            if not found["waiting"] or "lastError" in found:
                return found
            await asyncio.sleep(0.01)


def token(api: Api, *scopes: str) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 300, "pub": True}
    claims |= {"sub": api.platform.environment.id, "scopes": list(scopes)}
    return jwt.encode(claims, api.key, algorithm="HS256")


async def test_an_alert_is_made_read_changed_and_deleted(api: Api) -> None:
    client = api.client
    made = await make(api, "https://example.com/hook?key=mulberry", types=[FAILED])

    assert made.pop("secret")
    assert made["address"] == "example.com/hook"
    assert (made["types"], made["enabled"], made["waiting"]) == ([FAILED], True, 0)
    assert (await client.get(PATH)).json() == {"data": [made]}
    changed = await client.put(f"{PATH}/{made['id']}", json={"enabled": False, "types": EVERY})
    assert changed.json() == {**made, "enabled": False, "types": EVERY}
    assert (await client.get(f"{PATH}/{made['id']}")).json() == changed.json()

    assert (await client.delete(f"{PATH}/{made['id']}")).status_code == 204
    assert (await client.get(PATH)).json() == {"data": []}
    for gone in (client.get, client.delete):
        assert (await gone(f"{PATH}/{made['id']}")).status_code == 404
    assert (await client.put(f"{PATH}/{made['id']}", json={})).status_code == 404


async def test_readers_see_alerts_and_only_admins_keep_them(api: Api) -> None:
    made = await make(api, "https://example.com/hook?key=mulberry")
    key = await api.engine.keys.create(api.platform.environment.id, "web")

    for credential in (token(api, "read:all"), token(api, "read:all", "write:all"), key.secret):
        async with api.with_bearer(credential) as other:
            seen = await other.get(PATH)
            assert seen.status_code == 200
            assert "mulberry" not in seen.text
            assert made["secret"] not in seen.text
            one = f"{PATH}/{made['id']}"
            for refused in (
                other.post(
                    PATH, json={"name": "x", "channel": "slack", "address": "x", "types": EVERY}
                ),
                other.put(one, json={"enabled": False}),
                other.delete(one),
                other.post(f"{one}/test"),
            ):
                assert (await refused).status_code == 403

    async with api.with_bearer(token(api, "admin")) as admin:
        assert (await admin.put(f"{PATH}/{made['id']}", json={"name": "y"})).status_code == 200


async def test_what_is_done_to_alerts_stands_in_the_audit_log(api: Api) -> None:
    made = await make(api, "http://127.0.0.1:9/")
    one = f"{PATH}/{made['id']}"
    await api.client.put(one, json={"enabled": False})
    await api.client.post(f"{one}/test")
    await api.client.delete(one)

    deeds = (await api.client.get("/api/outlast/v1/deeds")).json()["data"]

    assert [(deed["action"], deed["target"]) for deed in reversed(deeds)] == [
        (f"{verb} alert", made["id"]) for verb in ("create", "change", "test", "delete")
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("channel", "pigeon"),
        ("address", "nowhere"),
        ("address", "https://ada:pw@example.com/"),
        ("types", []),
        ("types", ["alert.run.started"]),
    ],
)
async def test_what_makes_no_alert_is_refused_by_its_field(
    api: Api, field: str, value: object
) -> None:
    wanted = {"name": "a", "channel": "webhook", "address": "https://example.com", "types": EVERY}
    reply = await api.client.post(PATH, json={**wanted, field: value})

    assert reply.status_code in {400, 422}
    assert field in reply.text


async def test_without_a_mail_server_an_alert_by_mail_is_refused_by_the_setting(
    fresh_url: str,
) -> None:
    async with running_api(fresh_url) as api:
        wanted = {"name": "a", "channel": "email", "address": "ada@example.com", "types": EVERY}
        reply = await api.client.post(PATH, json=wanted)

    assert (reply.status_code, reply.json()["code"]) == (422, "no_mail_server")
    assert "OUTLAST_SMTP_URL" in reply.json()["error"]


async def test_a_webhook_is_told_of_a_failed_run_under_its_signature(api: Api, site: Web) -> None:
    made = await make(api, f"http://127.0.0.1:{site.port}/hook?key=1", types=[FAILED])
    deliver(api)
    run = await fail(api)
    await arrived(site.posted)

    [posted] = site.posted
    expected = hmac.new(made["secret"].encode(), posted.body, hashlib.sha256).hexdigest()
    assert posted.headers["x-trigger-signature-hmacsha256"] == expected
    assert posted.path == "/hook?key=1"
    event = json.loads(posted.body)
    assert (event["type"], event["webhookVersion"]) == (FAILED, "v1")
    told = event["object"]
    assert (told["task"]["id"], told["task"]["filePath"]) == ("hello", "trigger/hello.py")
    assert told["task"]["version"]
    assert (told["run"]["id"], told["run"]["status"]) == (run, "FAILED")
    assert told["run"]["error"] == {
        "type": "BUILT_IN_ERROR",
        "name": "ValueError",
        "message": "boom",
        "stackTrace": "",
    }
    assert (told["run"]["tags"], told["run"]["idempotencyKey"]) == (["t"], "k")
    page = f"https://jobs.example.com/env/proj_test/dev/runs/{run}"
    assert told["run"]["dashboardUrl"] == page
    assert told["environment"]["type"] == "DEVELOPMENT"
    assert told["project"]["ref"] == "proj_test"


async def test_a_webhook_is_told_of_new_errors_and_versions(api: Api, site: Web) -> None:
    await make(api, f"http://127.0.0.1:{site.port}/", types=EVERY[1:])
    await api.engine.catalogue.register(
        api.platform.environment.id, manifest("hello", digest="new")
    )
    await fail(api)
    await api.engine.activity.flush()
    deliver(api)
    await arrived(site.posted, 2)

    events = {event["type"]: event for event in (json.loads(one.body) for one in site.posted)}
    error = events["alert.error"]["object"]
    assert (error["classification"], error["error"]["message"]) == ("new_issue", "boom")
    assert error["dashboardUrl"].startswith("https://jobs.example.com/env/proj_test/dev/errors/")
    version = events["alert.deployment.success"]["object"]
    assert version["deployment"]["version"].endswith(".2")
    assert [task["id"] for task in version["tasks"]] == ["hello"]


async def test_slack_gets_one_line_with_a_link(api: Api, site: Web) -> None:
    made = await make(api, f"http://127.0.0.1:{site.port}/services/T0/xyz", "slack", [FAILED])
    assert made["address"] == f"127.0.0.1:{site.port}"
    assert "secret" not in made
    deliver(api)
    run = await fail(api, "<b> & more\nlines")
    await arrived(site.posted)

    text = json.loads(site.posted[0].body)["text"]
    assert text == (
        f"*ops* [test, dev] hello failed: ValueError: &lt;b&gt; &amp; more lines ({run})"
        f" https://jobs.example.com/env/proj_test/dev/runs/{run}"
    )


async def test_a_letter_is_handed_to_the_mail_server(api: Api, post: Mail) -> None:
    made = await make(api, "ada@example.com", "email", [FAILED])
    assert made["address"] == "ada@example.com"
    deliver(api)
    run = await fail(api)
    await arrived(post.letters)

    letter = email.message_from_string(post.letters[0], policy=email.policy.default)
    assert post.recipients == ["<ada@example.com>"]
    assert letter["From"] == "outlast@example.com"
    assert letter["Subject"].strip() == f"[test, dev] hello failed: ValueError: boom ({run})"
    assert f"https://jobs.example.com/env/proj_test/dev/runs/{run}" in letter.get_content()


async def test_a_password_goes_to_no_mail_server_that_does_not_encrypt(post: Mail) -> None:
    server = MailServer(
        host="127.0.0.1", port=post.port, sender="a@example.com", user="ada", password="pear-soup"
    )

    with pytest.raises(smtplib.SMTPNotSupportedError):
        await asyncio.to_thread(server.send, "b@example.com", "x", "y", seconds=5)
    assert post.letters == []


async def test_what_does_not_arrive_is_told_on_the_alert_without_its_address(
    api: Api, site: Web
) -> None:
    made = await make(api, f"http://127.0.0.1:{site.port}/?key=mulberry", types=[FAILED])
    site.status = 302  # followed by nobody
    deliver(api)
    await fail(api)

    found = await settled(api, made)
    assert (found["lastError"], found["waiting"]) == ("the address answered 302", 1)
    assert [one.path for one in site.posted] == ["/?key=mulberry"]


async def test_a_run_that_is_gone_meanwhile_is_told_to_nobody(api: Api, site: Web) -> None:
    made = await make(api, f"http://127.0.0.1:{site.port}/", types=[FAILED])
    await api.engine.retention.delete(api.platform.environment.id, await fail(api))
    deliver(api)

    found = await settled(api, made)
    assert "deliveredAt" not in found
    assert site.posted == []


async def test_an_alert_is_tried_at_once(
    api: Api, site: Web, post: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way it can go; nothing waits afterwards, and a silent address costs its time alone."""
    hook = await make(api, f"http://127.0.0.1:{site.port}/")
    letter = await make(api, "ada@example.com", "email")
    nobody = await make(api, "http://127.0.0.1:9/", "slack")

    async def tried(alert: dict[str, Any]) -> object:
        return (await api.client.post(f"{PATH}/{alert['id']}/test")).json()

    assert await tried(hook) == {"delivered": True}
    body = site.posted[0].body
    signature = hmac.new(hook["secret"].encode(), body, hashlib.sha256).hexdigest()
    assert site.posted[0].headers["x-trigger-signature-hmacsha256"] == signature
    assert json.loads(body)["object"]["run"]["isTest"] is True
    assert await tried(letter) == {"delivered": True}
    assert len(post.letters) == 1
    site.status = 500
    assert await tried(hook) == {"delivered": False, "error": "the address answered 500"}
    error = "the address does not answer: ConnectError"
    assert await tried(nobody) == {"delivered": False, "error": error}
    post.refused = "ada"
    error = "the mail server refused: SMTPRecipientsRefused"
    assert await tried(letter) == {"delivered": False, "error": error}
    site.status = None
    monkeypatch.setattr(notifier, "SEND_SECONDS", 0.2)
    assert await tried(hook) == {"delivered": False, "error": "no answer within 0.2 s"}
    assert (await api.client.post(f"{PATH}/alert_x/test")).status_code == 404
