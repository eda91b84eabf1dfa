"""The dashboard without scripts, as a browser with JavaScript off meets it: links and forms."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from api_server import Api
from outlast.cli.pages import dashboard
from outlast.dashboard.navigation import SECTIONS
from outlast.engine.errors import Unavailable
from outlast.protocol.roles import Role
from outlast.server.app import create_app
from outlast.server.rates import Rate
from outlast.server.settings import ServerSettings

NASTY = "<script>alert(1)</script>"
HARMLESS = "&lt;script&gt;alert(1)&lt;/script&gt;"
_PROOF = re.compile(r'name="csrf" value="(\w+)"')


@dataclass
class Reader:
    """Somebody who reads pages and sends their forms."""

    client: httpx.AsyncClient
    base: str
    api: Api

    async def read(self, path: str) -> str:
        """Return a page."""
        reply = await self.client.get(self.base + path)
        assert reply.status_code == 200, f"{path}: {reply.status_code}"
        return reply.text

    async def send(self, path: str, page: str, **fields: str) -> str:
        """Send a form of a page; return the page that it leads to."""
        proof = _PROOF.search(await self.read(page))
        assert proof is not None, f"{page} has no form"
        reply = await self.client.post(
            self.base + path, data={"csrf": proof[1], **fields}, follow_redirects=True
        )
        assert reply.history, f"{path} leads nowhere: {reply.status_code}"
        assert reply.status_code == 200, reply.text
        return reply.text


@pytest.fixture
async def reader(api: Api, fresh_url: str) -> AsyncIterator[Reader]:
    """Return a reader of an open dashboard."""
    settings = ServerSettings(database_url=fresh_url, encryption_keys=())
    app = create_app(settings, api.engine, pages=dashboard(is_open=True, is_secure=False))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://localhost",
        headers={"sec-fetch-site": "same-origin"},
    ) as client:
        yield Reader(client, f"/env/{api.platform.environment.project_ref}/dev/", api)


async def test_the_menu_leads_only_to_pages_that_are_there(reader: Reader) -> None:
    page = await reader.read("runs")

    linked = re.findall(r'href="([^"]+)" data-go', page)
    assert linked == [section.path for section in SECTIONS]
    for path in linked:
        await reader.read(path)


async def test_a_run_that_began_again_says_so(reader: Reader) -> None:
    run = await reader.api.trigger(payload={"n": 1})
    (await reader.api.worker.claim(run)).restart('{"n":2}')
    await reader.api.worker.claim(run)

    page = await reader.read(f"runs/{run}")

    assert "<dt>Generation</dt><dd>2</dd>" in page
    assert "generation 2" in page
    assert [f"<b>attempt</b> attempt {n}" in page for n in (1, 2, 3)] == [True, True, False]


async def test_what_people_type_is_never_markup(reader: Reader) -> None:
    """Whatever a run says about itself is shown, and none of it is run."""
    run = await reader.api.trigger(
        payload={"n": NASTY},
        options={
            "tags": [NASTY],
            "metadata": {NASTY: NASTY},
            "concurrencyKey": NASTY,
        },
    )
    claim = await reader.api.worker.claim(run)
    await claim.step(f"/step:{NASTY}#0", f'"{NASTY}"')
    claim.fail(NASTY)
    await reader.api.ended(run)
    made = await reader.api.client.post("/api/v1/waitpoints/tokens", json={"tags": [NASTY]})
    assert made.status_code == 200

    for path in ("runs", f"runs/{run}", f"runs/{run}/replay", *(one.path for one in SECTIONS)):
        page = await reader.read(path)
        assert NASTY not in page, path
        if path.startswith("runs"):
            assert HARMLESS in page or "&lt;script&gt;" in page, path
    for query in ("task", "tag", "queue", "version", "batch"):
        page = (await reader.client.get(reader.base + "runs", params={query: NASTY})).text
        assert NASTY not in page, query


async def test_a_run_is_canceled_and_replayed_by_plain_forms(reader: Reader) -> None:
    run = await reader.api.trigger(payload={"n": 1}, options={"delay": "1h"})

    canceled = await reader.send(f"runs/{run}/cancel", f"runs/{run}")
    await reader.api.ended(run)
    replayed = await reader.send(
        f"runs/{run}/replay", f"runs/{run}/replay", edited="1", payload='{"n": 2}'
    )

    assert "the run is being canceled" in canceled
    assert f"a replay of {run} with changes" in replayed


async def test_the_key_of_a_run_is_forgotten_by_a_plain_form(reader: Reader) -> None:
    options = {"idempotencyKey": "once", "delay": "1h"}
    run = await reader.api.trigger(options=options)

    forgotten = await reader.send(f"runs/{run}/key/forget", f"runs/{run}")

    assert "the next trigger with this key makes a new run" in forgotten
    assert await reader.api.trigger(options=options) != run


async def test_a_viewer_sees_no_form_and_sends_none(api: Api, fresh_url: str) -> None:
    await api.engine.users.add("vic", Role.VIEWER, "correct horse battery")
    secret = await api.engine.users.log_in("vic", "correct horse battery")
    assert secret is not None
    token = (await api.client.post("/api/v1/waitpoints/tokens", json={})).json()["id"]
    [queue, *_] = (await api.client.get("/api/v1/queues")).json()["data"]
    settings = ServerSettings(database_url=fresh_url, encryption_keys=())
    app = create_app(settings, api.engine, pages=dashboard(is_open=False, is_secure=False))
    base = f"/env/{api.platform.environment.project_ref}/dev/"
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://localhost",
        headers={"sec-fetch-site": "same-origin"},
        cookies={"outlast": secret},
    ) as client:
        for path in ("queues", f"queues/{queue['id']}", "schedules", f"waitpoints/{token}"):
            page = await client.get(base + path)
            assert page.status_code == 200, path
            forms = re.findall(r'<form[^>]* method="post" action="([^"]+)"', page.text)
            assert forms == ["/logout"], path
        proof = _PROOF.search(page.text)
        assert proof is not None
        for path in (f"queues/{queue['id']}/pause", "schedules/new", f"waitpoints/{token}"):
            reply = await client.post(base + path, data={"csrf": proof[1]})
            assert reply.status_code == 403, path
            assert "this needs the role operator" in reply.text


async def test_a_live_page_reloads_itself_where_no_script_runs(reader: Reader) -> None:
    assert '<noscript><meta http-equiv="refresh"' in await reader.read("runs")


async def test_a_form_of_somebody_else_is_refused(reader: Reader) -> None:
    run = await reader.api.trigger(options={"delay": "1h"})
    await reader.read("runs")

    reply = await reader.client.post(f"{reader.base}runs/{run}/cancel", data={"csrf": "0" * 32})

    assert reply.status_code == 403


@pytest.mark.parametrize(
    "path",
    ["../app.py", "..%2Fapp.py", "%2e%2e/app.py", "..%5Capp.py", "%2Fetc%2Fpasswd", "", "x.css"],
)
async def test_files_are_given_by_their_name_only(reader: Reader, path: str) -> None:
    reply = await reader.client.get(f"/static/{path}")
    assert reply.status_code in {303, 404}
    assert "import" not in reply.text


async def test_a_file_is_kept_until_its_content_changes(reader: Reader) -> None:
    found = re.search(r'"(/static/dashboard\.css\?v=\w+)"', await reader.read("runs"))
    assert found is not None

    reply = await reader.client.get(found[1])
    again = await reader.client.get(found[1], headers={"if-none-match": reply.headers["etag"]})

    assert "immutable" in reply.headers["cache-control"]
    assert again.status_code == 304


async def test_a_database_that_is_away_is_told_on_a_page(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise Unavailable("nothing answers at db.internal")

    monkeypatch.setattr(reader.api.engine.tenancy, "environments", away)
    for path in (f"{reader.base}runs", "/"):
        reply = await reader.client.get(path)

        assert reply.status_code == 503
        assert "the database is not available" in reply.text
        assert "db.internal" not in reply.text


async def test_search_leads_to_what_is_named(reader: Reader) -> None:
    batch = (await reader.api.client.post("/api/v3/batches", json={"runCount": 1})).json()["id"]
    made = await reader.api.client.post("/api/v1/waitpoints/tokens", json={})
    token = made.json()["id"]
    run = await reader.api.trigger(options={"tags": ["org_1"]})

    for wanted, place in (
        (run, f"runs/{run}"),
        (batch, f"batches/{batch}"),
        (token, f"waitpoints/{token}"),
        ("error_1", "runs?error=error_1"),
        ("hello", "runs?task=hello"),
        ("a/b c", "tasks/a%2Fb%20c"),
        ("org_1", "runs?tag=org_1"),
        ("", "runs"),
    ):
        reply = await reader.client.get(f"{reader.base}search", params={"q": wanted})
        assert reply.headers["location"] == reader.base + place


async def test_pages_are_not_counted_against_the_limit_of_keys(api: Api, fresh_url: str) -> None:
    settings = ServerSettings(database_url=fresh_url, encryption_keys=(), rate_limit=Rate(1, 1))
    app = create_app(settings, api.engine, pages=dashboard(is_open=True, is_secure=False))
    path = f"/env/{api.platform.environment.project_ref}/dev/runs"
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://localhost",
        headers={"authorization": f"Bearer {api.key}"},
    ) as client:
        pages = [(await client.get(path)).status_code for _ in range(5)]
        calls = [(await client.get("/api/v1/runs")).status_code for _ in range(2)]

    assert pages == [200] * 5
    assert calls == [200, 429]


@pytest.mark.parametrize(
    ("field", "typed", "reason"),
    [
        ("max_attempts", "inf", "max attempts is a number"),
        ("delay", "soon", "delay is a duration"),
        ("metadata", "[1]", "metadata"),
        ("metadata", "{", "the metadata is not JSON"),
        ("tags", "x" * 200, "tag"),
        ("queue", "nowhere", "queue"),
        ("version", "nothing", "version"),
    ],
)
async def test_an_option_that_is_wrong_is_told_beside_the_form(
    reader: Reader, field: str, typed: str, reason: str
) -> None:
    proof = _PROOF.search(await reader.read("test/hello"))
    assert proof is not None
    form = {"csrf": proof[1], "form": "json", "payload": '{"n": 1}', field: typed}

    reply = await reader.client.post(f"{reader.base}test/hello", data=form)

    assert reply.status_code == 422
    problem = re.search(r'role="alert">([^<]*)<', reply.text)
    assert problem is not None
    assert reason in problem[1]
    assert "{&#34;n&#34;: 1}" in reply.text
