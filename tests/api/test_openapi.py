"""The document tells the truth: whatever is sent, good or bad, the answer is one that it promises.

Schemathesis makes the requests from the document, with a seed of its own; a list of hostile ones is
added. They go over a real socket to a server with objects in it, whose ids stand in the paths.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, strategies
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api_server import Api
from outlast.server.listening import bind, listening

Schema = dict[str, Any]
Operation = schemathesis.APIOperation[Any, Any, Any, Any]
Case = schemathesis.Case[Any]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = {GenerationMode.POSITIVE: 6, GenerationMode.NEGATIVE: 2}
"""Of each operation; what is forbidden takes long to make."""
PATIENCE = 20
RIGHT: dict[str, object] = {
    "task": "hello",
    "cron": "0 9 * * *",
    "runCount": 1,
    "scopes": ["read:runs"],
    "action": "pause",
    "concurrencyLimit": 1,
    "status": "open",
    "index": 0,
    "items": [{"task": "hello"}],
    "delay": "1h",
    "channel": "webhook",
    "address": "http://127.0.0.1:9/",
    "types": ["alert.run.failed"],
}
"""Values of fields that must be there."""
LAST = ("POST /api/outlast/v1/keys/rotate", "DELETE /api/outlast/v1/keys/{key_id}")
"""They change what the others live on."""
NOT_CALLED = ("not here", "workers")
"""These answer 501 by design, and switch protocols: others test them."""
CALM = {"live": "false", "seconds": "0", "cursor": "1"}
"""What makes a request of the document wait for what does not come."""
HOSTILE_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "a number": b"1e999",
    "NaN": b'{"a": NaN}',
    "a huge number": b"[" + b"9" * 5000 + b"]",
    "a list": b'[null, {"x": [[]]}]',
    "text": b'"\\ud800"',
    "half a text": b'{"a": "',
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "deep": b"[" * 5000 + b"]" * 5000,
    "repeated": b'{"a": 1, "a": 2}',
}
HOSTILE_VALUES: dict[str, object] = {
    "null": None,
    "U+0000": "a\0b",
    "half a character": "\ud800",
    "a huge number": 10**400,
    "a number of 65 bits": 2**64,
    "below": -(2**63) - 1,
    "a fraction": 0.5,
    "true": True,
    "a list": [None, "\0", "\udfff"],
    "an object": {"\0": {"\ud800": 2**70}},
    "long": "x" * 70_000,
    "empty": "",
}
HOSTILE_TEXTS = ("\0", "%2F..%2F", "0" * 16 + "9" * 400, "x" * 3000, "-1", "\u2028' or 1 --")
KINDS = ("application/json", "application/x-ndjson", "text/\xff", "")


@schemathesis.serializer("application/x-ndjson")
def _line(_: schemathesis.SerializationContext, value: object) -> bytes:
    return value.encode(errors="replace") if isinstance(value, str) else json.dumps(value).encode()


class Town:
    """A served API with an object of each kind."""

    def __init__(self, url: str, key: str, known: dict[str, str], found: dict[str, Any]) -> None:
        self.url = url
        self.known = known
        self.schema = schemathesis.openapi.from_dict(found)
        self.sent = 0
        self._session = requests.Session()
        self._session.headers["connection"] = "close"  # a kept one may end while it is used again
        self._headers = {"authorization": f"Bearer {key}"}

    def operations(self) -> list[Operation]:
        """Return what the document knows, the most harmful last."""
        made = [one.ok() for one in self.schema.get_all_operations() if isinstance(one, Ok)]
        called = [one for one in made if not set(one.tags or ()) & set(NOT_CALLED)]
        return sorted(called, key=lambda one: one.label in LAST)

    def check(self, case: Case) -> None:
        """Send a request and hold the answer against the document."""
        query = case.query or {}
        case.query = {**query, **{name: CALM[name] for name in query if name in CALM}}
        headers = {**self._headers, "timeout-seconds": "1"}
        reply = case.call(self.url, session=self._session, headers=headers, timeout=PATIENCE)
        case.validate_response(reply, checks=CHECKS)
        self.sent += 1

    def send(
        self,
        operation: Operation,
        *,
        names: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> None:
        """Send a request that no client would make, to objects that are there."""
        path = operation.full_path
        for name, value in {**self.known, **(names or {})}.items():
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        reply = self._session.request(
            operation.method,
            self.url + path,
            params={"seconds": "0", **(query or {})},
            headers={**self._headers, "timeout-seconds": "1", **(headers or {})},
            data=body,
            timeout=PATIENCE,
        )
        operation.Case(path_parameters=self.known).validate_response(reply, checks=CHECKS)
        self.sent += 1


@pytest.fixture
async def town(api: Api) -> AsyncIterator[Town]:
    """Fill an environment and serve it."""
    post = api.client.post
    run = await api.trigger(payload={"a": 1}, options={"tags": ["t"], "delay": "1h"})
    failing = await api.trigger()
    (await api.worker.claim(failing)).fail("no")
    await api.ended(failing)
    await api.engine.activity.flush()
    [error] = await api.engine.failures.groups(api.platform.environment.id)
    plan = {"task": "hello", "cron": "0 9 * * *", "deduplicationKey": "k"}
    bulk = await post("/api/v1/bulk-actions", json={"action": "cancel", "runIds": [failing]})
    told = {name: RIGHT[name] for name in ("channel", "address", "types")}
    alert = await post("/api/outlast/v1/alerts", json={"name": "a", **told})
    known = {
        "alert_id": alert.json()["id"],
        "run_id": run,
        "batch_id": (await post("/api/v3/batches", json={"runCount": 2})).json()["id"],
        "bulk_id": bulk.json()["id"],
        "schedule_id": (await post("/api/v1/schedules", json=plan)).json()["id"],
        "token_id": (await post("/api/v1/waitpoints/tokens", json={})).json()["id"],
        "key_id": (await api.engine.keys.create(api.platform.environment.id, "k")).id,
        "error_id": error.fingerprint,
        "task_id": "hello",
        "queue": "task/hello",
        "ref": api.platform.environment.project_ref,
        "part": "payload",
        "action": "pause",
        "target": "self",
        "key": "log",
        "path": "a.json",
        "span_id": "0123456789abcdef",
        "secret": "wrong",
        "sealed": "wrong",
        "slug": "dev",
        "name": "SOME",
        "version": (await api.client.get("/api/v1/deployments/current")).json()["version"],
    }
    found = (await api.client.get("/openapi.json")).json()
    settings = replace(api.app.state.services.settings, port=0)
    with bind(settings) as listener:
        async with listening(api.app, listener) as bound:
            yield Town(bound.url, api.key, known, found)


def judged(town: Town, each: Callable[[Operation], None]) -> None:
    """Do something to every operation; say all that was wrong at once."""
    faults = {}
    for operation in town.operations():
        try:
            each(operation)
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - the others are tried too
            faults[operation.label] = "\n".join(
                str(one) for one in getattr(error, "exceptions", [error])
            )
    assert not faults, "\n\n".join(f"{label}\n{said}" for label, said in faults.items())


def tried(town: Town, mode: GenerationMode) -> None:
    """Try every operation with requests that the document allows, or forbids."""

    def each(operation: Operation) -> None:
        @hypothesis.settings(
            max_examples=EXAMPLES[mode],
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @hypothesis.given(operation.as_strategy(mode), strategies.booleans())
        def one(case: Case, there: bool) -> None:
            if there:
                case.path_parameters = {
                    name: town.known.get(name, "x") for name in case.path_parameters or {}
                }
            town.check(case)

        with suppress(hypothesis.errors.Unsatisfiable):  # nothing is forbidden
            one()

    judged(town, each)


@pytest.mark.timeout(300)
async def test_every_answer_is_one_that_the_document_promises(town: Town) -> None:
    for mode in EXAMPLES:
        await asyncio.to_thread(tried, town, mode)

    assert town.sent > 500


@pytest.mark.timeout(300)
async def test_hostile_bodies_values_and_texts_cost_their_sender_an_error(town: Town) -> None:
    await asyncio.to_thread(judged, town, partial(_send_bodies, town))
    await asyncio.to_thread(judged, town, partial(_send_values, town))
    await asyncio.to_thread(judged, town, partial(_send_texts, town))

    assert town.sent > 1_000


def _send_bodies(town: Town, operation: Operation) -> None:
    if operation.method.upper() in {"POST", "PUT"}:
        for number, body in enumerate(HOSTILE_BODIES.values()):
            town.send(operation, body=body, headers={"content-type": KINDS[0]})
            if number == 1:
                for kind in KINDS[1:]:
                    town.send(operation, body=body, headers={"content-type": kind})


def _send_values(town: Town, operation: Operation) -> None:
    """Send bodies that are right but for one field, also of an object inside."""
    body = operation.definition.raw.get("requestBody")
    schema = {} if body is None else next(iter(body["content"].values()))["schema"]
    schemas = town.schema.raw_schema["components"]["schemas"]
    for path in _paths(schema, schemas):
        for number, value in enumerate(HOSTILE_VALUES.values()):
            if len(path) > 1 and number % 3 != len(path[-1]) % 3:
                continue  # of the many fields inside, each gets some of the values
            inner: object = value
            for name in reversed(path[1:]):
                inner = {name: inner}
            sent = {**_right(schema, schemas), path[0]: inner}
            town.send(operation, body=json.dumps(sent).encode(), headers={"content-type": KINDS[0]})


def _opened(schema: Schema, schemas: Schema) -> Schema:
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return schema


def _right(schema: Schema, schemas: Schema) -> dict[str, object]:
    required = _opened(schema, schemas).get("required", ())
    return {name: RIGHT.get(name, "x") for name in required}


def _paths(schema: Schema, schemas: Schema, depth: int = 2) -> Iterator[tuple[str, ...]]:
    for name, inner in _opened(schema, schemas).get("properties", {}).items():
        yield (name,)
        if depth > 1:
            yield from ((name, *path) for path in _paths(inner, schemas, depth - 1))


def _send_texts(town: Town, operation: Operation) -> None:
    for number, parameter in enumerate(operation.definition.raw.get("parameters", [])):
        name, place = parameter["name"], parameter["in"]
        for text in HOSTILE_TEXTS[number % 3 :: 3]:
            if place == "path":
                town.send(operation, names={name: text})
            elif place == "query" and name not in CALM:
                town.send(operation, query={name: text})
            elif place == "header":
                town.send(operation, headers={name: text.strip("\0\u2028")})
