"""No route gives anything to who must not have it: every route of the application is tried.

A route that is not in `ROUTES` fails the test: whoever adds one says here how it is called.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import httpx
import jwt
import pytest
from starlette.routing import BaseRoute, Mount

from api_server import Api
from outlast.engine.tokens import AUDIENCE, ISSUER
from outlast.protocol.roles import Role
from outlast.server.openapi import document, operations
from outlast.server.routes.unsupported import UNSUPPORTED

SECRET = "marzipan-owl"  # stands in everything that one environment holds
REFUSED = {401, 403, 404}
ALERT = {
    "name": SECRET,
    "channel": "webhook",
    "address": f"http://127.0.0.1:9/?{SECRET}",  # nobody is there
    "types": ["alert.run.failed"],
}
PLAN = {"task": "hello", "cron": "0 9 * * *", "deduplicationKey": SECRET}

OPEN = {
    "GET /healthz",
    "GET /readyz",
    "GET /openapi.json",
    "GET /api/v1/timezones",
}
"""No environment's data: nobody has to say who they are."""

SEALED = {
    "POST /api/v1/waitpoints/tokens/{token_id}/callback/{secret}": "{token_id}/callback/wrong",
    "PUT /api/v1/packet-data/{sealed}": "",
    "GET /api/v1/packet-data/{sealed}": "",
}
"""The address itself is the key; here it is a wrong one."""


@dataclass(frozen=True)
class Call:
    """How a route is called. `{name}` in the address is an object of the attacked environment."""

    path: str
    json: object = None
    content: bytes | None = None
    query: dict[str, str] = field(default_factory=dict)
    shared: bool = False
    """It names no object of one environment: with a key of its own, another one is served."""


SAID = {"task", "queue", "version"}
"""Names that the two environments have in common."""

RUN = "/api/v1/runs/{run}"
OF_TASK = {"filter[taskIdentifier]": "hello"}
ENVVARS = "/api/v1/projects/{ref}/envvars/{slug}"
ENVVARS_OF_DEV = "/api/v1/projects/proj_test/envvars/dev"
ROUTES: dict[str, Call] = {
    "POST /api/outlast/v1/triggers": Call("/api/outlast/v1/triggers", content=b"[]", shared=True),
    "POST /api/v1/tasks/{task_id:path}/trigger": Call("/api/v1/tasks/{task}/trigger", {}),
    "POST /api/v3/batches": Call(
        "/api/v3/batches", {"runCount": 1, "taskIdentifiers": ["hello"]}, shared=True
    ),
    "POST /api/v3/batches/{batch_id}/items": Call(
        "/api/v3/batches/{batch}/items", content=b'{"index":0,"task":"hello"}\n'
    ),
    "GET /api/v2/batches/{batch_id}": Call("/api/v2/batches/{batch}"),
    "GET /api/v1/batches/{batch_id}/results": Call("/api/v1/batches/{batch}/results"),
    "POST /api/v1/bulk-actions": Call(
        "/api/v1/bulk-actions", {"action": "replay", "runIds": ["{run}"]}, shared=True
    ),
    "GET /api/v1/bulk-actions": Call("/api/v1/bulk-actions", shared=True),
    "GET /api/v1/bulk-actions/{bulk_id}": Call("/api/v1/bulk-actions/{bulk}"),
    "POST /api/v1/bulk-actions/{bulk_id}/abort": Call("/api/v1/bulk-actions/{bulk}/abort"),
    "GET /api/v3/runs/{run_id}": Call("/api/v3/runs/{run}"),
    "GET /api/v1/runs": Call("/api/v1/runs", query=OF_TASK, shared=True),
    "GET /api/v1/projects/{ref}/runs": Call(
        "/api/v1/projects/proj_test/runs", query={**OF_TASK, "filter[env]": "dev"}
    ),
    "POST /api/v2/tasks/batch": Call(
        "/api/v2/tasks/batch", {"items": [{"task": "hello"}]}, shared=True
    ),
    "POST /api/v2/runs/{run_id}/cancel": Call("/api/v2/runs/{run}/cancel"),
    "DELETE /api/outlast/v1/runs/{run_id}": Call("/api/outlast/v1/runs/{run}"),
    "POST /api/outlast/v1/runs/{run_id}/resume": Call("/api/outlast/v1/runs/{run}/resume"),
    "GET /api/v1/runs/{run_id}/result": Call(f"{RUN}/result"),
    "GET /api/v1/runs/{run_id}/metadata": Call(f"{RUN}/metadata"),
    "PUT /api/v1/runs/{run_id}/metadata": Call(f"{RUN}/metadata", {"metadata": {}}),
    "GET /api/outlast/v1/runs/{run_id}/result": Call(
        "/api/outlast/v1/runs/{run}/result", query={"seconds": "0"}
    ),
    "POST /api/v1/runs/{run_id}/replay": Call(f"{RUN}/replay"),
    "POST /api/v1/runs/{run_id}/reschedule": Call(f"{RUN}/reschedule", {"delay": "1h"}),
    "POST /api/v1/runs/{run_id}/tags": Call(f"{RUN}/tags", {"tags": ["x"]}),
    "GET /api/outlast/v1/runs/{run_id}/logs": Call("/api/outlast/v1/runs/{run}/logs"),
    "GET /api/outlast/v1/runs/{run_id}/journal": Call("/api/outlast/v1/runs/{run}/journal"),
    "GET /api/v1/runs/{run_id}/trace": Call(f"{RUN}/trace"),
    "GET /api/v1/runs/{run_id}/spans/{span_id}": Call(f"{RUN}/spans/0123456789abcdef"),
    "GET /api/v1/runs/{run_id}/events": Call(f"{RUN}/events"),
    "GET /api/v1/runs/{run_id}/packets/{part}": Call(f"{RUN}/packets/payload"),
    "PUT /api/v2/packets/{path:path}": Call("/api/v2/packets/a.json", shared=True),
    "GET /api/v1/packets/{path:path}": Call("/api/v1/packets/a.json", shared=True),
    "GET /api/v1/deployments": Call("/api/v1/deployments", shared=True),
    "GET /api/v1/deployments/current": Call("/api/v1/deployments/current", shared=True),
    "GET /api/v1/deployments/latest": Call("/api/v1/deployments/latest", shared=True),
    "POST /api/v1/deployments/{version}/promote": Call("/api/v1/deployments/{version}/promote"),
    "POST /api/v1/schedules": Call("/api/v1/schedules", PLAN, shared=True),
    "GET /api/v1/schedules": Call("/api/v1/schedules", shared=True),
    "GET /api/v1/schedules/{schedule_id}": Call("/api/v1/schedules/{schedule}"),
    "PUT /api/v1/schedules/{schedule_id}": Call("/api/v1/schedules/{schedule}", PLAN),
    "DELETE /api/v1/schedules/{schedule_id}": Call("/api/v1/schedules/{schedule}"),
    "POST /api/v1/schedules/{schedule_id}/activate": Call("/api/v1/schedules/{schedule}/activate"),
    "POST /api/v1/schedules/{schedule_id}/deactivate": Call(
        "/api/v1/schedules/{schedule}/deactivate"
    ),
    "POST /api/v1/waitpoints/tokens": Call("/api/v1/waitpoints/tokens", {}, shared=True),
    "GET /api/v1/waitpoints/tokens": Call("/api/v1/waitpoints/tokens", shared=True),
    "GET /api/v1/waitpoints/tokens/{token_id}": Call("/api/v1/waitpoints/tokens/{token}"),
    "POST /api/v1/waitpoints/tokens/{token_id}/complete": Call(
        "/api/v1/waitpoints/tokens/{token}/complete", {}
    ),
    "POST /api/v1/auth/jwt/claims": Call("/api/v1/auth/jwt/claims", shared=True),
    "POST /api/v1/auth/public-tokens": Call(
        "/api/v1/auth/public-tokens", {"scopes": ["read:runs:{run}"]}, shared=True
    ),
    "GET /api/outlast/v1/environment": Call("/api/outlast/v1/environment", shared=True),
    "GET /api/outlast/v1/environment/limits": Call(
        "/api/outlast/v1/environment/limits", shared=True
    ),
    "POST /api/outlast/v1/environment/limits": Call(
        "/api/outlast/v1/environment/limits", {"concurrencyLimit": 7}, shared=True
    ),
    "POST /api/outlast/v1/environment/{action}": Call(
        "/api/outlast/v1/environment/resume", shared=True
    ),
    "GET /api/outlast/v1/tasks": Call("/api/outlast/v1/tasks", shared=True),
    "GET /api/outlast/v1/tasks/{task_id:path}": Call("/api/outlast/v1/tasks/{task}"),
    "GET /api/outlast/v1/usage": Call("/api/outlast/v1/usage", shared=True),
    "GET /api/outlast/v1/errors": Call("/api/outlast/v1/errors", shared=True),
    "GET /api/outlast/v1/errors/{error_id}": Call("/api/outlast/v1/errors/{error}"),
    "POST /api/outlast/v1/errors/{error_id}": Call(
        "/api/outlast/v1/errors/{error}", {"status": "open"}
    ),
    "GET /api/outlast/v1/alerts": Call("/api/outlast/v1/alerts", shared=True),
    "POST /api/outlast/v1/alerts": Call("/api/outlast/v1/alerts", ALERT, shared=True),
    "GET /api/outlast/v1/alerts/{alert_id}": Call("/api/outlast/v1/alerts/{alert}"),
    "PUT /api/outlast/v1/alerts/{alert_id}": Call("/api/outlast/v1/alerts/{alert}", {}),
    "DELETE /api/outlast/v1/alerts/{alert_id}": Call("/api/outlast/v1/alerts/{alert}"),
    "POST /api/outlast/v1/alerts/{alert_id}/test": Call("/api/outlast/v1/alerts/{alert}/test"),
    "GET /api/outlast/v1/batches": Call("/api/outlast/v1/batches", shared=True),
    "GET /api/outlast/v1/keys": Call("/api/outlast/v1/keys", shared=True),
    "POST /api/outlast/v1/keys": Call("/api/outlast/v1/keys", {"name": "x"}, shared=True),
    "POST /api/outlast/v1/keys/rotate": Call("/api/outlast/v1/keys/rotate", {}, shared=True),
    "DELETE /api/outlast/v1/keys/{key_id}": Call("/api/outlast/v1/keys/{made_key}"),
    "GET /api/outlast/v1/deeds": Call("/api/outlast/v1/deeds", shared=True),
    f"GET {ENVVARS}": Call(ENVVARS_OF_DEV),
    f"POST {ENVVARS}": Call(ENVVARS_OF_DEV, {"name": "NEW", "value": SECRET}),
    f"POST {ENVVARS}/import": Call(f"{ENVVARS_OF_DEV}/import", {"variables": {"A": SECRET}}),
    f"GET {ENVVARS}/{{name}}": Call(f"{ENVVARS_OF_DEV}/KEPT"),
    f"PUT {ENVVARS}/{{name}}": Call(f"{ENVVARS_OF_DEV}/KEPT", {"value": SECRET}),
    f"DELETE {ENVVARS}/{{name}}": Call(f"{ENVVARS_OF_DEV}/KEPT"),
    "GET /api/v2/whoami": Call("/api/v2/whoami", shared=True),
    "GET /api/outlast/v1/variables": Call("/api/outlast/v1/variables", shared=True),
    "GET /api/v1/queues": Call("/api/v1/queues", shared=True),
    "GET /api/v1/queues/{queue:path}": Call("/api/v1/queues/{queue}", query={"type": "task"}),
    "POST /api/v1/queues/{queue:path}/pause": Call(
        "/api/v1/queues/{queue}/pause", {"type": "task", "action": "pause"}
    ),
    "POST /api/v1/queues/{queue:path}/concurrency/override": Call(
        "/api/v1/queues/{queue}/concurrency/override", {"type": "task", "concurrencyLimit": 1}
    ),
    "POST /api/v1/queues/{queue:path}/concurrency/reset": Call(
        "/api/v1/queues/{queue}/concurrency/reset", {"type": "task"}
    ),
    "GET /api/outlast/v1/queues/{queue:path}/metrics": Call(
        "/api/outlast/v1/queues/{queue}/metrics", query={"type": "task"}
    ),
    "GET /api/outlast/v1/queues/{queue:path}/keys": Call(
        "/api/outlast/v1/queues/{queue}/keys", query={"type": "task"}
    ),
    "POST /engine/v1/runs/{run_id}/wait/duration": Call(
        "/engine/v1/runs/{run}/wait/duration", {"date": "2030-01-01T00:00:00Z"}
    ),
    "POST /engine/v1/runs/{run_id}/waitpoints/tokens/{token_id}/wait": Call(
        "/engine/v1/runs/{run}/waitpoints/tokens/{token}/wait"
    ),
    "POST /api/v1/idempotencyKeys/{key:path}/reset": Call(
        f"/api/v1/idempotencyKeys/{SECRET}/reset", {"taskIdentifier": "hello"}
    ),
    "POST /api/outlast/v1/runs/{run_id}/idempotency-key/reset": Call(
        "/api/outlast/v1/runs/{run}/idempotency-key/reset"
    ),
    "GET /realtime/v1/runs/{run_id}": Call(  # an empty feed: it may come
        "/realtime/v1/runs/{run}", query={"offset": "-1"}, shared=True
    ),
    "GET /realtime/v1/runs": Call(
        "/realtime/v1/runs", query={"offset": "-1", "tags": SECRET}, shared=True
    ),
    "GET /realtime/v1/batches/{batch_id}": Call(
        "/realtime/v1/batches/{batch}", query={"offset": "-1"}, shared=True
    ),
    "GET /realtime/v1/streams/{run_id}/{key}": Call("/realtime/v1/streams/{run}/log"),
    "GET /realtime/v1/streams/{run_id}/input/{key}": Call("/realtime/v1/streams/{run}/input/log"),
    "POST /realtime/v1/streams/{run_id}/input/{key}": Call(
        "/realtime/v1/streams/{run}/input/log", {"data": {"data": "x", "id": "inp_1"}}
    ),
    "PUT /realtime/v1/streams/{run_id}/{target}/{key}": Call("/realtime/v1/streams/{run}/self/log"),
    "POST /realtime/v1/streams/{run_id}/{target}/{key}": Call(
        "/realtime/v1/streams/{run}/self/log", content=b'"x"\n'
    ),
    "HEAD /realtime/v1/streams/{run_id}/{target}/{key}": Call(
        "/realtime/v1/streams/{run}/self/log"
    ),
    "POST /realtime/v1/streams/{run_id}/{target}/{key}/append": Call(
        "/realtime/v1/streams/{run}/self/log/append", content=b"x"
    ),
}


WITH_PERSONAL_TOKEN = {
    "GET /api/v2/whoami",
    "GET /api/v1/projects/{ref}/runs",
    *(route for route in ROUTES if ENVVARS in route),
}
"""Their address names the environment: a personal token opens them, as far as its role goes."""
ONLY_WITH_PERSONAL_TOKEN = {"GET /api/v2/whoami"}


@dataclass
class Town:
    """A server with two environments; everything in the first is named after the secret."""

    api: Api
    objects: dict[str, str]
    other_key: str

    async def call(self, route: str, credential: str | None) -> httpx.Response:
        """Call a route against the objects of the first environment."""
        method, call = route.partition(" ")[0], ROUTES[route]
        async with self.api.with_bearer(credential) as client:
            return await client.request(
                method,
                str(self.fill(call.path)),
                params=call.query,
                json=self.fill(call.json),
                content=call.content,
                headers={
                    "timeout-seconds": "1",  # of a stream that has not ended
                    **({"content-type": "application/x-ndjson"} if call.content else {}),
                },
                timeout=20,
            )

    def sign(self, **claims: object) -> str:
        """Return a token signed with the first environment's key."""
        made = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": int(time.time()) - 300,
            "exp": int(time.time()) + 300,
            "sub": self.api.platform.environment.id,
            "pub": True,
        }
        return jwt.encode(made | claims, self.api.key, algorithm="HS256")

    async def stored(self) -> list[object]:
        """Return what could be changed by who must not."""
        rows = await self.api.platform.sql(
            "select s.run_id, s.status, r.tags, m.value::text from outlast.run_state s "
            "join outlast.run r on r.id = s.run_id and r.environment_id = s.environment_id "
            "left join outlast.metadata m on m.run_id = s.run_id "
            "where s.environment_id = $1 order by 1",
            self.api.platform.environment.id,
        )
        return [tuple(row) for row in rows]

    def fill(self, value: object) -> object:
        """Put the objects' names in."""
        if isinstance(value, str):
            for name, found in self.objects.items():
                value = value.replace(f"{{{name}}}", found)
        elif isinstance(value, dict):
            return {name: self.fill(one) for name, one in value.items()}
        elif isinstance(value, list):
            return [self.fill(one) for one in value]
        return value

    def assert_says_nothing(self, reply: httpx.Response, route: str) -> None:
        """Hold an answer against what only the first environment may see."""
        told = f"{reply.text} {reply.headers}"
        asked = str(self.fill(f"{ROUTES.get(route)} {SEALED.get(route)}"))
        held = {one for name, one in self.objects.items() if name not in SAID and one not in asked}
        secrets = {SECRET, *held} if SECRET not in asked else held
        for secret in {*secrets, self.api.platform.environment.id, self.api.key}:
            assert secret not in told, (route, secret, reply.text)


@pytest.fixture
async def town(api: Api) -> Town:
    """Fill one environment, and make another one beside it."""
    run = await api.trigger(
        payload={"data": SECRET},
        options={"tags": [SECRET], "delay": "1h", "metadata": {"m": SECRET}},
    )
    post = api.client.post
    batch = (await post("/api/v3/batches", json={"runCount": 2})).json()["id"]
    schedule = (await post("/api/v1/schedules", json=PLAN)).json()["id"]
    token = (await post("/api/v1/waitpoints/tokens", json={"tags": [SECRET]})).json()["id"]
    bulk = await post(
        "/api/v1/bulk-actions",
        json={"action": "cancel", "runIds": [await api.trigger()], "name": SECRET},
    )
    other = await api.engine.tenancy.create_project("other", ref="proj_other")
    version = (await api.client.get("/api/v1/deployments/current")).json()["version"]
    failing = await api.trigger()
    (await api.worker.claim(failing)).fail(SECRET)
    await api.ended(failing)
    await api.engine.activity.flush()
    [error] = await api.engine.failures.groups(api.platform.environment.id)
    key = await api.engine.keys.create(api.platform.environment.id, SECRET)
    await api.engine.variables.save(
        api.platform.environment.id, {"KEPT": SECRET}, mode="new", is_secret=True
    )
    alert = await post("/api/outlast/v1/alerts", json=ALERT)
    objects = {
        "alert": alert.json()["id"],
        "error": error.fingerprint,
        "made_key": key.id,
        "run": run,
        "batch": batch,
        "schedule": schedule,
        "token": token,
        "bulk": bulk.json()["id"],
        "queue": "hello",
        "task": "hello",
        "version": version,
    }
    return Town(api, objects, other.keys["dev"])


def routes(found: Iterable[BaseRoute]) -> Iterator[str]:
    """Yield method and path of every route, whatever holds it."""
    for route in found:
        path = getattr(route, "path", None)
        inner = getattr(getattr(route, "original_router", route), "routes", None)
        if inner is not None:
            yield from routes(inner)
        elif path is not None and not isinstance(route, Mount):
            methods = set(getattr(route, "methods", None) or {"WEBSOCKET"})
            for method in methods - ({"HEAD"} if "GET" in methods else set()):
                yield f"{method} {path}"
        else:
            raise AssertionError(f"{route} is a kind of route that this test does not know")


def known() -> set[str]:
    """Return every route that this test knows."""
    return {*ROUTES, *OPEN, *SEALED}


async def test_every_route_of_the_application_is_known(town: Town) -> None:
    """Fails when a route is added that nobody has said how to call."""
    found = {
        route
        for route in routes(town.api.app.routes)
        if route.partition(" ")[2] not in UNSUPPORTED and not route.startswith("WEBSOCKET")
    }

    assert found - known() == set(), "say in ROUTES how these are called"
    assert known() - found == set(), "these are gone"


async def test_every_route_answers_its_own_key(town: Town) -> None:
    """The calls are good ones: what is refused below is refused for its key alone."""
    faults = {}
    order = sorted(ROUTES, key=lambda one: one.startswith("DELETE") or "cancel" in one)
    for route in filter(lambda one: one not in ONLY_WITH_PERSONAL_TOKEN, order):
        reply = await town.call(route, town.api.key)
        if reply.status_code in {400, 401, 403, 405} or reply.status_code >= 500:
            faults[route] = f"{reply.status_code} {reply.text}"

    assert not faults, "\n".join(f"{route}: {said}" for route, said in faults.items())


async def test_without_a_key_every_route_is_closed(town: Town) -> None:
    faults = {}
    for route in ROUTES:
        for credential in (None, "tr_dev_" + "x" * 32, "tr_pat_" + "x" * 40, "a.b.c"):
            reply = await town.call(route, credential)
            town.assert_says_nothing(reply, route)
            if reply.status_code != 401:
                faults[route] = f"{reply.status_code} {reply.text}"

    assert not faults, "\n".join(f"{route}: {said}" for route, said in faults.items())


async def test_an_expired_token_opens_nothing(town: Town) -> None:
    token = town.sign(scopes=["admin"], exp=int(time.time()) - 120)
    faults = {}
    for route in ROUTES:
        reply = await town.call(route, token)
        town.assert_says_nothing(reply, route)
        if reply.status_code != 401:
            faults[route] = f"{reply.status_code} {reply.text}"

    assert not faults, "\n".join(f"{route}: {said}" for route, said in faults.items())


@pytest.mark.parametrize("scopes", [["read:nothing", "write:runs:run_other"], []])
async def test_a_token_of_another_scope_opens_nothing(town: Town, scopes: list[str]) -> None:
    token = town.sign(scopes=scopes)
    faults = {}
    for route in ROUTES:
        reply = await town.call(route, token)
        town.assert_says_nothing(reply, route)
        wanted = {401} if route in ONLY_WITH_PERSONAL_TOKEN else {403, 404}
        if reply.status_code not in wanted:
            faults[route] = f"{reply.status_code} {reply.text}"

    assert not faults, "\n".join(f"{route}: {said}" for route, said in faults.items())


@pytest.mark.timeout(180)
async def test_every_scope_that_a_route_names_opens_it(town: Town) -> None:
    """What the document says of tokens is true; `{batch}` stands for no batch of this run."""
    objects = {
        "run_id": town.objects["run"],
        "batch_id": town.objects["batch"],
        "token_id": town.objects["token"],
        "task": "hello",
        "task_id": "hello",
        "queue": "hello",
        "tag": SECRET,
        "path": "a.json",
    }
    calls = {route.replace(":path}", "}"): route for route in ROUTES}
    faults, tried = {}, 0
    told = sorted(
        operations(document(town.api.app)),
        key=lambda one: one[1] == "delete" or "cancel" in one[0],  # what is gone opens nothing
    )
    for path, method, operation in told:
        route = calls.get(f"{method.upper()} {path}")
        scopes = [scope for one in operation["security"] for scope in one.get("token", ())]
        for scope in scopes if route is not None else ():
            if "{batch}" in scope:
                continue
            assert route is not None
            filled = scope.format(**objects)
            reply = await town.call(route, town.sign(scopes=[filled]))
            tried += 1
            if reply.status_code in {401, 403}:
                faults[f"{route} with {filled}"] = f"{reply.status_code} {reply.text}"

    assert not faults, "\n".join(f"{route}: {said}" for route, said in faults.items())
    assert tried > 100


async def test_a_token_that_reads_all_changes_nothing(town: Town) -> None:
    """What a viewer of the dashboard holds."""
    token = town.sign(scopes=["read:all"])
    faults = {}
    for route in ROUTES:
        if not route.startswith(("GET", "HEAD")):
            reply = await town.call(route, token)
            if reply.status_code != 403:
                faults[route] = f"{reply.status_code} {reply.text}"

    assert not faults, "\n".join(f"{route}: {said}" for route, said in faults.items())


async def test_the_key_of_another_environment_finds_none_of_it(town: Town) -> None:
    """It serves its own environment, and says 404 to the objects of others."""
    before = await town.stored()
    faults = {}
    for route, call in ROUTES.items():
        reply = await town.call(route, town.other_key)
        town.assert_says_nothing(reply, route)
        if not call.shared and reply.status_code not in {422, *REFUSED}:  # 422: no task to do it
            faults[route] = f"{reply.status_code} {reply.text}"

    assert not faults, "\n".join(f"{route}: {said}" for route, said in faults.items())
    assert await town.stored() == before


async def test_a_personal_token_opens_what_its_address_names_and_nothing_else(town: Town) -> None:
    """Of a viewer: nothing is changed. One that has ended opens nothing at all."""
    users = town.api.engine.users
    await users.add("vera", Role.VIEWER)
    token = (await users.tokens.create("vera")).secret
    ended = (await users.tokens.create("vera", seconds=60)).secret
    await town.api.platform.sql(
        "update outlast.personal_token set expires_at = clock_timestamp() "
        "where expires_at is not null"
    )
    faults = {}
    for route in ROUTES:
        reply, late = await town.call(route, token), await town.call(route, ended)
        wanted = 401
        if route in WITH_PERSONAL_TOKEN:
            wanted = 200 if route.startswith("GET") else 403
        if wanted != 200 or ENVVARS in route:
            town.assert_says_nothing(reply, route)
        town.assert_says_nothing(late, route)
        if (reply.status_code, late.status_code) != (wanted, 401):
            faults[route] = f"{reply.status_code} {late.status_code} {reply.text}"

    assert not faults, "\n".join(f"{route}: {said}" for route, said in faults.items())


async def test_a_wrong_sealed_address_opens_nothing(town: Town) -> None:
    faults = {}
    for route, wrong in SEALED.items():
        method, _, path = route.partition(" ")
        address = (
            path.replace("{sealed}", "wrong")
            if not wrong
            else path.replace("{token_id}", town.objects["token"]).replace("{secret}", "wrong")
        )
        async with town.api.with_bearer(None) as client:
            reply = await client.request(method, address, json={})
        town.assert_says_nothing(reply, route)
        if reply.status_code not in REFUSED:
            faults[route] = f"{reply.status_code} {reply.text}"

    assert not faults, "\n".join(f"{route}: {said}" for route, said in faults.items())


async def test_what_is_not_offered_asks_for_a_key_first(town: Town) -> None:
    async with town.api.with_bearer(None) as client:
        for path in UNSUPPORTED:
            reply = await client.get(path.replace("{rest:path}", "x").replace("{run_id}", "run_1"))
            assert reply.status_code == 401, path
