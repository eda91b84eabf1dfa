"""A payment provider for one machine: the public REST shape of a large one, and its bad days.

It limits the rate, answers 503 now and then, loses webhooks, and keeps what matters: an effect
that is asked for twice under one idempotency key happens once.
"""

import hashlib
import hmac
import itertools
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from app.settings import settings

RATE_WINDOW = 1.0
_KEY_REUSED = "Keys for idempotent requests can only be used with the same parameters"


@dataclass(frozen=True)
class Weather:
    """How bad the day is. Zero turns a trouble off."""

    requests_per_second: int = 0
    every_nth_fails: int = 0


@dataclass(frozen=True)
class Effect:
    """Money that was moved, and under which key."""

    path: str
    amount: int
    key: str


@dataclass
class Payments:
    """The provider: what customers pay for, and everything that was asked of it."""

    plans: dict[str, tuple[str, str]]
    weather: Weather = Weather()
    webhook_url: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    """How often each customer's subscription was read."""
    keys: list[str] = field(default_factory=list)
    """The key of each request for an effect, repeated ones too."""
    effects: list[Effect] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)
    """How many requests met bad weather, by status."""
    before_answer: Callable[[str], Awaitable[None]] | None = None
    """Awaited after an effect, before its answer: where a caller's death hurts most."""
    _answers: dict[str, tuple[str, dict[str, object]]] = field(default_factory=dict)
    _recent: list[float] = field(default_factory=list)
    _count: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def reset(self, plans: Mapping[str, tuple[str, str]]) -> None:
        """Forget everything but the customers."""
        self.plans = dict(plans)
        self.asked.clear()
        self.keys.clear()
        self.effects.clear()
        self._answers.clear()

    def find(self, customer: str) -> dict[str, object]:
        """Answer `GET /v1/subscriptions`."""
        self.asked[customer] += 1
        found = self.plans.get(customer)
        return {"object": "list", "data": [_subscription(customer, *found)] if found else []}

    async def move(self, path: str, body: str, key: str) -> tuple[int, dict[str, object], bool]:
        """Answer a request for an effect: status, body, and whether it was answered before."""
        if not key:
            return (
                400,
                _problem("idempotency_error", "this request needs an Idempotency-Key"),
                False,
            )
        self.keys.append(key)
        asked = f"{path}?{body}"
        if key in self._answers:
            before, answer = self._answers[key]
            if before != asked:
                return 400, _problem("idempotency_error", _KEY_REUSED), False
            return 200, answer, True
        amount = int(dict(parse_qsl(body)).get("amount", "0"))
        self.effects.append(Effect(path, amount, key))
        name = "re" if path.endswith("refunds") else "cbtxn"
        answer = {"id": f"{name}_{next(self._count)}", "amount": amount}
        self._answers[key] = (asked, answer)
        if self.before_answer is not None:
            await self.before_answer(path)
        return 200, answer, False

    def trouble(self) -> JSONResponse | None:
        """Return the answer of a bad day, if this request gets one."""
        now = time.monotonic()
        self._recent = [moment for moment in self._recent if now - moment < RATE_WINDOW]
        limit, nth = self.weather.requests_per_second, self.weather.every_nth_fails
        if limit and len(self._recent) >= limit:
            return self._refuse(429, "rate_limit", "Too many requests")
        self._recent.append(now)
        if nth and next(self._count) % nth == 0:
            return self._refuse(503, "api_error", "We are having a bad minute")
        return None

    async def change_plan(self, customer: str, plan: str, *, webhook_arrives: bool = True) -> None:
        """Let a customer change what they pay for, and tell the app, unless that gets lost."""
        self.plans[customer] = (plan, "active")
        if webhook_arrives:
            await self._tell("customer.subscription.updated", customer)

    async def _tell(self, kind: str, customer: str) -> None:
        event = {
            "id": f"evt_{next(self._count)}",
            "type": kind,
            "data": {"object": _subscription(customer, *self.plans[customer])},
        }
        body = json.dumps(event).encode()
        headers = {"Stripe-Signature": sign(body), "Content-Type": "application/json"}
        async with httpx.AsyncClient() as client:
            answer = await client.post(self.webhook_url, content=body, headers=headers)
            answer.raise_for_status()

    def _refuse(self, status: int, kind: str, message: str) -> JSONResponse:
        self.refused[status] += 1
        return JSONResponse(_problem(kind, message), status)


def sign(body: bytes, *, moment: int | None = None) -> str:
    """Return the signature header of a webhook."""
    at = int(time.time()) if moment is None else moment
    secret = settings().payments_webhook_secret.get_secret_value().encode()
    return f"t={at},v1={hmac.new(secret, f'{at}.'.encode() + body, hashlib.sha256).hexdigest()}"


def payments_app(payments: Payments) -> FastAPI:
    """Return the provider's HTTP side."""
    app = FastAPI(openapi_url=None)

    @app.middleware("http")
    async def gate(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        expected = f"Bearer {settings().payments_secret_key.get_secret_value()}"
        if request.headers.get("authorization") != expected:
            return JSONResponse(_problem("invalid_request_error", "Invalid API Key"), 401)
        return payments.trouble() or await go_on(request)

    @app.get("/v1/subscriptions")
    async def subscriptions(customer: str) -> dict[str, object]:
        return payments.find(customer)

    @app.post("/v1/customers/{customer}/balance_transactions")
    async def credit(request: Request, customer: str) -> JSONResponse:
        del customer  # it is part of the path, by which repetitions are compared
        return await effect(request)

    @app.post("/v1/refunds")
    async def effect(request: Request) -> JSONResponse:
        path = request.url.path.removeprefix(request.scope.get("root_path", ""))
        key = request.headers.get("idempotency-key", "")
        status, answer, again = await payments.move(path, (await request.body()).decode(), key)
        headers = {"Idempotent-Replayed": "true"} if again else {}
        return JSONResponse(answer, status, headers=headers)

    return app


def _subscription(customer: str, plan: str, status: str) -> dict[str, object]:
    return {
        "id": f"sub_{customer.removeprefix('cus_')}",
        "object": "subscription",
        "customer": customer,
        "status": status,
        "items": {"object": "list", "data": [{"price": {"lookup_key": plan}}]},
    }


def _problem(kind: str, message: str) -> dict[str, object]:
    return {"error": {"type": kind, "message": message}}
