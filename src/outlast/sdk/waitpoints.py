"""Waitpoint tokens: what a task waits for until a human or a partner completes it."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypedDict, Unpack, cast

import msgspec
from msgspec.structs import replace

from outlast.client import clients
from outlast.client import waitpoints as requests
from outlast.protocol.messages import Call, MadeToken, NewToken
from outlast.protocol.outcomes import Outcome
from outlast.protocol.waitpoints import ListedToken, TokenDetail
from outlast.sdk import runtime
from outlast.sdk.blocking import check_blocking
from outlast.sdk.calls import Call as Awaited
from outlast.sdk.durations import Duration, moment, seconds
from outlast.sdk.errors import OutputError, PayloadError, WaitpointTimeoutError, run_error
from outlast.sdk.options import unknown
from outlast.sdk.results import Result
from outlast.sdk.runtime import Runtime
from outlast.sdk.serde import Codec
from outlast.sdk.texts import storable, storable_json

PAGE: Final = 100
_PLAIN: Final = (dict, list, tuple, str, int, float, bool)

_made = msgspec.json.Decoder(MadeToken)


@dataclass(frozen=True, slots=True)
class WaitpointToken:
    """A token to wait for. `url` and `public_access_token` complete it: give them to one who may.

    Whoever posts to `url` completes the token with the body, without a key, once. A browser that
    holds `public_access_token` may complete this token, as long as it can be waited for.
    """

    id: str
    is_cached: bool
    url: str = field(repr=False)
    public_access_token: str = field(repr=False)


class TokenOptions(TypedDict, total=False):
    """How a token is made. With an idempotency key the same key gives the same token."""

    timeout: Duration | datetime
    tags: Sequence[str]
    idempotency_key: str
    idempotency_key_ttl: Duration


class TokenFilters(TypedDict, total=False):
    """Which tokens to list. Texts are alternatives when there are several."""

    status: str | Sequence[str]
    tags: str | Sequence[str]
    idempotency_key: str
    period: str
    created_after: datetime
    created_before: datetime


_NAMES: Final = {
    "status": "[status]",
    "tags": "[tags]",
    "idempotency_key": "[idempotencyKey]",
    "period": "[createdAt][period]",
    "created_after": "[createdAt][from]",
    "created_before": "[createdAt][to]",
}


def create_token(**options: Unpack[TokenOptions]) -> Awaited[WaitpointToken]:
    """Make a token. It times out after 10 minutes unless `timeout` says otherwise.

    Inside a task it is made once: a replay gets the same token again.
    """
    run = runtime.current()
    if run is None:
        new = _new(options)
        return Awaited("wait.create_token", lambda: _create(new))
    call = _creation(run, options)

    async def drive() -> WaitpointToken:
        return _recorded(await run.resolve(call))

    return Awaited("wait.create_token", drive)


def create_token_sync(**options: Unpack[TokenOptions]) -> WaitpointToken:
    """Blocking `create_token`."""
    check_blocking("wait.create_token_sync()", "wait.create_token()")
    run = runtime.current()
    if run is None:
        return _token(clients.send_sync(requests.create(_new(options))))
    return _recorded(run.resolve_sync(_creation(run, options)))


async def complete_token(token: WaitpointToken | str, data: object = None) -> None:
    """Complete a token: the first one wins, the others change nothing. Raises `NotFoundError`."""
    target = _id(token)
    await clients.send(requests.complete(target, _text(target, data)))


def complete_token_sync(token: WaitpointToken | str, data: object = None) -> None:
    """Blocking `complete_token`."""
    check_blocking("wait.complete_token_sync()", "wait.complete_token()")
    target = _id(token)
    clients.send_sync(requests.complete(target, _text(target, data)))


async def retrieve_token(token: WaitpointToken | str) -> TokenDetail:
    """Return a token and what it was completed with. Raises `NotFoundError`."""
    return await clients.send(requests.retrieve(_id(token)))


def retrieve_token_sync(token: WaitpointToken | str) -> TokenDetail:
    """Blocking `retrieve_token`."""
    check_blocking("wait.retrieve_token_sync()", "wait.retrieve_token()")
    return clients.send_sync(requests.retrieve(_id(token)))


async def list_tokens(**filters: Unpack[TokenFilters]) -> AsyncIterator[ListedToken]:
    """Yield tokens, newest first: `async for token in wait.list_tokens(status="WAITING")`."""
    wanted, after = _query(filters), None
    while True:
        page = await clients.send(requests.list_page(wanted, size=PAGE, after=after))
        for token in page.data:
            yield token
        after = page.pagination.next
        if after is None:
            return


def list_tokens_sync(**filters: Unpack[TokenFilters]) -> Iterator[ListedToken]:
    """Blocking `list_tokens`."""
    wanted, after = _query(filters), None
    while True:
        check_blocking("wait.list_tokens_sync()", "wait.list_tokens()")
        page = clients.send_sync(requests.list_page(wanted, size=PAGE, after=after))
        yield from page.data
        after = page.pagination.next
        if after is None:
            return


def waiting(run: Runtime, token: WaitpointToken | str, timeout: Duration | None) -> Call:
    """Return the call that waits for a token."""
    target = _id(token)
    return Call(
        key=run.reserve("token", target),
        kind="token",
        name=target,
        target=target,
        arguments=target,
        timeout=None if timeout is None else seconds(timeout, "timeout"),
    )


def completed(
    outcome: Outcome,
    token: WaitpointToken | str,
    type: object,  # noqa: A002 - the word users write
) -> Result[Any]:
    """Return how a wait for a token ended. Raises `OutputError` for data of another type."""
    target = _id(token)
    if outcome.ok:
        owner = f"token {target}"
        codec = Codec[Any](lambda: type, subject="data", owner=owner, error=OutputError)
        return Result(id=target, task="", output=codec.decode(outcome.value))
    error = outcome.error
    assert error is not None, f"the wait for {target} failed without an error"
    if error.kind == "timed_out":
        late = WaitpointTimeoutError(f"token {target}: {error.message}", error=error)
        return Result(id=target, task="", error=late)
    raise run_error(error)


def _text(target: str, data: object) -> str | None:
    if data is None:
        return None
    kind = Any if isinstance(data, _PLAIN) else type(data)
    owner = f"token {target}"
    text = Codec[Any](lambda: kind, subject="data", owner=owner, error=PayloadError).encode(data)
    return storable_json(text, f"the data of {owner}")


def _query(filters: TokenFilters) -> dict[str, str]:
    for name in filters:
        if name not in _NAMES:
            raise unknown(name, _NAMES, "wait.list_tokens()")
    return {_NAMES[name]: _shown(name, value) for name, value in filters.items()}


def _shown(name: str, value: object) -> str:
    if isinstance(value, datetime):
        return str(int(moment(value, name) * 1000))
    return value if isinstance(value, str) else ",".join(cast("Sequence[str]", value))


def _recorded(outcome: Outcome) -> WaitpointToken:
    if outcome.error is not None:
        raise run_error(outcome.error)
    return _token(_made.decode(outcome.value or ""))


async def _create(new: NewToken) -> WaitpointToken:
    return _token(await clients.send(requests.create(new)))


def _token(made: MadeToken) -> WaitpointToken:
    return WaitpointToken(
        id=made.id,
        is_cached=made.is_cached,
        url=made.url,
        public_access_token=made.public_access_token,
    )


def _new(options: TokenOptions) -> NewToken:
    """Return what the options say. Raises `UsageError`."""
    known = TokenOptions.__annotations__
    for name in options:
        if name not in known:
            raise unknown(name, known, "wait.create_token()")
    timeout, ttl = options.get("timeout"), options.get("idempotency_key_ttl")
    tags, key = options.get("tags", ()), options.get("idempotency_key")
    new = NewToken(
        tags=tuple(storable(tag, "a tag") for tag in ((tags,) if isinstance(tags, str) else tags)),
        idempotency_key=None if key is None else storable(str(key), "an idempotency key"),
        idempotency_key_ttl=None if ttl is None else seconds(ttl, "idempotency_key_ttl"),
    )
    if isinstance(timeout, datetime):
        return replace(new, timeout_at=moment(timeout, "timeout"))
    return new if timeout is None else replace(new, timeout=seconds(timeout, "timeout"))


def _creation(run: Runtime, options: TokenOptions) -> Call:
    new = _new(options)
    name = "token" if new.idempotency_key is None else f"token[{new.idempotency_key[:16]}]"
    key = run.reserve("waitpoint", name)
    return Call(key=key, kind="waitpoint", name=name, new=new, arguments=new.idempotency_key or "")


def _id(token: WaitpointToken | str) -> str:
    return token if isinstance(token, str) else token.id
