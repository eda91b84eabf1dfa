"""The document tells the truth: whatever is sent, good or bad, the answer is one that it promises.

Schemathesis makes the requests from the document, with a seed of its own; a list of hostile ones is
added. They go over a real socket to a server with objects in it, whose ids stand in the paths.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
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

Operation = schemathesis.APIOperation[Any, Any, Any, Any]
Case = schemathesis.Case[Any]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 6
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
HOSTILE_TEXTS = (
    "\0",
    "%",
    "%2F..%2F",
    "\u2028",
    "x" * 3000,
    "9" * 400,
    "-1",
    "'; select 1 --",
    "ÿ",
)


@schemathesis.serializer("application/x-ndjson")
def _line(_: schemathesis.SerializationContext, value: object) -> bytes:
    return value.encode(errors="replace") if isinstance(value, str) else json.dumps(value).encode()


class Town:
    """A served API with an object of each kind."""

    def __init__(self, url: str, key: str, known: dict[str, str], found: dict[str, Any]) -> None:
        self.url = url
        self.known = known
        self.schema = schemathesis.openapi.from_dict(found)
        self._session = requests.Session()
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
            params={**{name: CALM[name] for name in ("seconds",)}, **(query or {})},
            headers={**self._headers, "timeout-seconds": "1", **(headers or {})},
            data=body,
            timeout=PATIENCE,
        )
        operation.Case().validate_response(reply, checks=CHECKS)


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
    known = {
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
            max_examples=EXAMPLES,
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
                    name: town.known[name] for name in case.path_parameters or {}
                }
            town.check(case)

        with suppress(hypothesis.errors.Unsatisfiable):  # nothing is forbidden
            one()

    judged(town, each)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_every_answer_is_one_that_the_document_promises(
    town: Town, mode: GenerationMode
) -> None:
    await asyncio.to_thread(tried, town, mode)


@pytest.mark.timeout(180)
async def test_a_hostile_body_costs_its_sender_an_error(town: Town) -> None:
    def each(operation: Operation) -> None:
        if operation.method.upper() not in {"POST", "PUT"}:
            return
        for body in HOSTILE_BODIES.values():
            for kind in ("application/json", "application/x-ndjson", "text/\xff", ""):
                town.send(operation, body=body, headers={"content-type": kind})

    await asyncio.to_thread(judged, town, each)


@pytest.mark.timeout(180)
async def test_a_hostile_value_in_any_field_costs_its_sender_an_error(town: Town) -> None:
    def each(operation: Operation) -> None:
        for body in bodies(town.schema.raw_schema, operation):
            town.send(operation, body=json.dumps(body).encode())

    await asyncio.to_thread(judged, town, each)


@pytest.mark.timeout(180)
async def test_a_hostile_text_in_a_path_query_or_header_costs_its_sender_an_error(
    town: Town,
) -> None:
    def each(operation: Operation) -> None:
        for parameter in operation.definition.raw.get("parameters", []):
            for text in HOSTILE_TEXTS:
                match parameter["in"]:
                    case "path":
                        town.send(operation, names={parameter["name"]: text})
                    case "query" if parameter["name"] not in CALM:
                        town.send(operation, query={parameter["name"]: text})
                    case "header":
                        town.send(operation, headers={parameter["name"]: text.strip("\0\u2028")})

    await asyncio.to_thread(judged, town, each)


def bodies(found: dict[str, Any], operation: Operation) -> Iterator[object]:
    """Yield bodies that are right but for one field."""
    body = operation.definition.raw.get("requestBody")
    schema = {} if body is None else next(iter(body["content"].values()))["schema"]
    while "$ref" in schema:
        schema = found["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    right = {name: RIGHT.get(name, "x") for name in schema.get("required", ())}
    for name in schema.get("properties", ()):
        for value in HOSTILE_VALUES.values():
            yield {**right, name: value}
