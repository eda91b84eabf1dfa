"""People at the door: logging in, what a role may do, what is noted, and what an attacker gets."""

import asyncio
import re

import httpx
import pytest

from outlast.protocol.roles import Role
from scene import Stage

PASSWORD = "correct horse battery"


async def logged_in(stage: Stage, name: str) -> None:
    """Log in through the form."""
    assert await stage.browser.open("/") == 200
    await stage.browser.sees("Log in", "h1")
    await stage.browser.call("fill", "input[name=name]", name)
    await stage.browser.call("fill", "input[name=password]", PASSWORD)
    await stage.browser.call("click", ".primary")


async def test_nobody_sees_anything_before_the_login(guarded: Stage) -> None:
    await guarded.api.engine.users.add("ada", Role.OPERATOR, PASSWORD)
    run = await guarded.api.trigger()
    await guarded.browser.open(guarded.base + f"runs/{run}")
    await guarded.browser.sees("Log in", "h1")
    await guarded.browser.sees_no(run)
    await guarded.browser.assert_clean()

    await logged_in(guarded, "ada")

    await guarded.browser.sees("ada", ".person")
    await guarded.open(f"runs/{run}")
    await guarded.browser.sees("Timeline")
    [cookie] = await guarded.browser.call("cookies")
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"


async def test_a_login_link_opens_once(guarded: Stage) -> None:
    users = guarded.api.engine.users
    await users.add("ada", Role.ADMIN)
    code = await users.make_link("ada")

    for outcome in ("Tasks", "That did not open the door"):
        await guarded.browser.call("forget")
        await guarded.browser.open(f"/login/{code}")
        await guarded.browser.call("click", ".primary")
        await guarded.browser.sees(outcome, "main")


async def test_what_an_operator_does_is_noted_and_a_viewer_only_looks(guarded: Stage) -> None:
    users = guarded.api.engine.users
    await users.add("ada", Role.OPERATOR, PASSWORD)
    await users.add("vic", Role.VIEWER, PASSWORD)
    run = await guarded.api.trigger(options={"delay": "1h"})
    await logged_in(guarded, "ada")
    await guarded.open(f"runs/{run}")
    await guarded.browser.press("c")
    await guarded.browser.sees("canceled", "#live_status")
    await guarded.browser.call("forget")
    await logged_in(guarded, "vic")
    other = await guarded.api.trigger(options={"delay": "1h"})
    await guarded.open(f"runs/{other}")
    await guarded.browser.sees("Timeline")

    seen = await guarded.browser.call("text", "main")
    deeds = await users.deeds(guarded.api.platform.environment.id)

    assert "Cancel" not in seen
    assert [(deed.account, deed.action, deed.target, deed.outcome) for deed in deeds] == [
        ("vic", "log in", "", "done"),
        ("ada", "cancel run", f"runs/{run}/cancel", "done"),
        ("ada", "log in", "", "done"),
    ]


async def test_everybody_makes_and_revokes_personal_tokens_of_their_own(guarded: Stage) -> None:
    users, browser = guarded.api.engine.users, guarded.browser
    await users.add("vic", Role.VIEWER, PASSWORD)
    await users.add("ada", Role.ADMIN, PASSWORD)
    others = (await users.tokens.create("ada", "of ada")).id
    await logged_in(guarded, "vic")
    await browser.sees("vic", ".person")

    await browser.call("click", ".person a")
    await browser.sees("Personal tokens", "h1")
    await browser.call("fill", "input[name=name]", "laptop")
    await browser.call("click", ".primary")
    await browser.sees("TRIGGER_ACCESS_TOKEN=tr_pat_", ".made")
    secret = (await browser.call("text", ".made code")).partition("=")[2].strip()
    await browser.assert_clean()
    await guarded.open("personal-tokens")
    await browser.sees("laptop", "table")
    await browser.sees_no(secret)
    await browser.sees_no(others)

    holder = await users.tokens.open(secret)
    [made] = await users.tokens.list("vic")
    assert holder is not None
    assert (holder.account, holder.role, holder.token_id) == ("vic", Role.VIEWER, made.id)
    assert made.expires_at is not None
    assert round((made.expires_at - made.created_at).total_seconds() / 86_400) == 90

    await browser.call("click", "button[aria-label='Revoke laptop']")
    await browser.sees("revoked", "[role=status]")
    assert await users.tokens.open(secret) is None
    deeds = await users.deeds(guarded.api.platform.environment.id, limit=2)
    assert {deed.action for deed in deeds} == {"create personal token", "revoke personal token"}


async def test_a_personal_token_of_somebody_else_is_not_there(guarded: Stage) -> None:
    users = guarded.api.engine.users
    await users.add("vic", Role.VIEWER, PASSWORD)
    await users.add("ada", Role.ADMIN, PASSWORD)
    others = await users.tokens.create("ada")
    secret = await users.log_in("vic", PASSWORD)
    assert secret is not None
    async with httpx.AsyncClient(
        base_url=guarded.browser.base, cookies={"outlast": secret}
    ) as client:
        page = await client.get(f"{guarded.base}personal-tokens")
        proof = re.search(r'name="csrf" value="(\w+)"', page.text)
        assert proof is not None
        own = {"sec-fetch-site": "same-origin"}
        path, form = f"{guarded.base}personal-tokens", {"csrf": proof[1]}
        theft = await client.post(f"{path}/{others.id}/revoke", data=form, headers=own)
        endless = await client.post(path, data=form | {"days": "9e9"}, headers=own)

    assert (theft.status_code, endless.status_code) == (404, 422)
    assert await users.tokens.open(others.secret) is not None


async def test_where_nobody_logs_in_there_are_no_personal_tokens(stage: Stage) -> None:
    assert await stage.browser.open(stage.base + "personal-tokens") == 404
    await stage.browser.sees("nobody logs in here", "main")


async def test_ten_wrong_passwords_close_the_door(guarded: Stage) -> None:
    users = guarded.api.engine.users
    await users.add("ada", Role.ADMIN, PASSWORD)
    for _ in range(10):
        assert await users.log_in("ada", "wrong password") is None

    assert await users.log_in("ada", PASSWORD) is None
    assert await users.log_in("nobody", PASSWORD) is None


@pytest.fixture
async def thief(guarded: Stage) -> httpx.AsyncClient:
    """Return a client with the cookie of an operator, as a browser on a foreign page sends it."""
    await guarded.api.engine.users.add("ada", Role.OPERATOR, PASSWORD)
    secret = await guarded.api.engine.users.log_in("ada", PASSWORD)
    assert secret is not None
    return httpx.AsyncClient(base_url=guarded.browser.base, cookies={"outlast": secret})


async def test_an_attacker_is_refused(guarded: Stage, thief: httpx.AsyncClient) -> None:
    run = await guarded.api.trigger(options={"delay": "1h"})
    path = f"{guarded.base}runs/{run}/cancel"
    own = {"sec-fetch-site": "same-origin"}
    async with thief:
        page = await thief.get(f"{guarded.base}runs/{run}")
        proof = re.search(r'name="csrf" value="(\w+)"', page.text)
        assert proof is not None
        form = {"csrf": proof[1]}
        host = await thief.get(guarded.base + "runs", headers={"host": "evil.example"})
        origin = await thief.post(path, data=form, headers={"origin": "https://evil.example"})
        site = await thief.post(path, data=form, headers={"sec-fetch-site": "cross-site"})
        bare = await thief.post(path, headers=own)
        wrong = await thief.post(path, data={"csrf": "0" * 32}, headers=own)
        by_cookie = await thief.get("/api/v1/runs")
        scripted = await thief.get(guarded.base + "runs")
        good = await thief.post(path, data=form, headers=own)

    assert host.status_code == 421
    assert [reply.status_code for reply in (origin, site, bare, wrong)] == [403] * 4
    assert by_cookie.status_code == 401
    policy = scripted.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert good.status_code == 303
    await guarded.api.ended(run)


async def test_a_viewer_cannot_post_what_the_page_hides(guarded: Stage) -> None:
    users = guarded.api.engine.users
    await users.add("vic", Role.VIEWER, PASSWORD)
    secret = await users.log_in("vic", PASSWORD)
    assert secret is not None
    run = await guarded.api.trigger(options={"delay": "1h"})
    async with httpx.AsyncClient(
        base_url=guarded.browser.base, cookies={"outlast": secret}
    ) as client:
        page = await client.get(f"{guarded.base}runs")
        proof = re.search(r'name="csrf" value="(\w+)"', page.text)
        assert proof is not None
        reply = await client.post(f"{guarded.base}runs/{run}/cancel", data={"csrf": proof[1]},
                                  headers={"sec-fetch-site": "same-origin"})  # fmt: skip

    assert reply.status_code == 403
    assert (await users.deeds(guarded.api.platform.environment.id))[0].outcome == "refused"


async def test_a_worker_link_with_an_origin_is_refused(guarded: Stage) -> None:
    port = int(guarded.browser.base.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /api/outlast/v1/worker HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n"
        b"connection: upgrade\r\nsec-websocket-version: 13\r\norigin: http://localhost\r\n"
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    answer = await asyncio.wait_for(reader.readline(), 10)
    writer.close()

    assert b" 403 " in answer
