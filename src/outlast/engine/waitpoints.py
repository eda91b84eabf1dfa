"""Waitpoint tokens: made by an app or a task, completed from outside, waited for by runs.

The secret in a token's callback URL is stored as its hash, and sealed under the encryption keys so
that the URL can be shown again to who may make tokens.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from outlast.engine.claims import Place
from outlast.engine.cycles import Cycles
from outlast.engine.database import Database
from outlast.engine.errors import InvalidRequest, NotFound, Unauthorized
from outlast.engine.filters import MAX_PAGE, Page
from outlast.engine.ids import Ids
from outlast.engine.keys import KeyRing
from outlast.engine.queries import load
from outlast.engine.tokens import Tokens
from outlast.engine.turn import Completion, NewWaitpoint
from outlast.protocol import ids
from outlast.protocol.messages import Call, Entry, MadeToken, NewToken
from outlast.protocol.outcomes import Outcome
from outlast.protocol.waitpoints import callback_url

WAITPOINTS = load("waitpoints")

MAX_TAGS = 10
MAX_TAG_CHARS = 128
MAX_KEY_CHARS = 512
KEY_TTL_SECONDS = 30 * 86_400.0
_MAX_SECONDS = 100 * 366 * 86_400.0
_MAX_EPOCH = 253_402_300_799.0  # the end of the year 9999
_SECRET_BYTES = 32

WaitpointStatus = Literal["waiting", "completed", "timed_out"]


class Waitpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A waitpoint token as stored. `output` is JSON text; lists leave it out."""

    id: str
    status: WaitpointStatus
    tags: tuple[str, ...]
    idempotency_key: str | None
    idempotency_expires_at: datetime | None
    callback_sealed: bytes
    output: str | None
    timeout_at: datetime
    created_at: datetime
    completed_at: datetime | None


class WaitpointFilters(msgspec.Struct, frozen=True, kw_only=True):
    """Which tokens to list. Several values of one field mean any of them; fields are combined."""

    statuses: tuple[WaitpointStatus, ...] = ()
    tags: tuple[str, ...] = ()
    idempotency_key: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


class WaitpointPage(msgspec.Struct, frozen=True):
    """One page of tokens, newest first, with the cursors around it."""

    waitpoints: tuple[Waitpoint, ...]
    next: str | None
    previous: str | None


class _Callback(msgspec.Struct, frozen=True):
    environment_id: str
    status: WaitpointStatus
    callback_hash: bytes


class _Made(msgspec.Struct, frozen=True):
    """What the journal holds of a token that a task made: nothing that opens it."""

    id: str
    is_cached: bool


_made = msgspec.json.Decoder(_Made)


class Waitpoints:
    """The tokens of all environments."""

    def __init__(
        self, database: Database, *, ids: Ids, ring: KeyRing, tokens: Tokens, cycles: Cycles
    ) -> None:
        self._database = database
        self._ids = ids
        self._ring = ring
        self._tokens = tokens
        self._cycles = cycles

    async def create(
        self,
        environment_id: str,
        wanted: NewToken,
        *,
        request_key: str | None = None,
        completes: bool = False,
    ) -> tuple[Waitpoint, bool]:
        """Return a token, and whether its idempotency key had made it before.

        A repeated `request_key` gets the first answer again. `completes`: its time-out completes
        it. Raises `InvalidRequest`.
        """
        _check(wanted)
        waitpoint = self._ids.new("waitpoint")
        secret = secrets.token_hex(_SECRET_BYTES)
        ttl = wanted.idempotency_key_ttl
        [told] = await self._cycles.of(environment_id).ask(
            NewWaitpoint(
                waitpoint=waitpoint,
                request_key=request_key or waitpoint,
                callback_hash=_hash(secret).hex(),
                callback_sealed=self._ring.encrypt(secret, waitpoint).hex(),
                tags=tuple(dict.fromkeys(wanted.tags)),
                idempotency_key=wanted.idempotency_key,
                idempotency_ttl=KEY_TTL_SECONDS if ttl is None else ttl,
                timeout=wanted.timeout,
                timeout_at=wanted.timeout_at,
                completes=completes,
            )
        )
        made = await self.retrieve(environment_id, told.run or waitpoint)
        return made, told.data == "true"

    async def retrieve(self, environment_id: str, waitpoint: str) -> Waitpoint:
        """Return a token. Raises `NotFound`, also for one of another environment."""
        found = await self._database.fetch(
            Waitpoint, WAITPOINTS.retrieve, environment=environment_id, ids=[waitpoint]
        )
        if not found:
            raise NotFound(f"there is no waitpoint token {waitpoint[:80]!r} in this environment")
        return found[0]

    async def page(
        self, environment_id: str, filters: WaitpointFilters, page: Page
    ) -> WaitpointPage:
        """Return a page of tokens, newest first. Raises `InvalidRequest`."""
        _check_page(page)
        backwards = page.before is not None
        cursor = {"before": page.before} if backwards else {"after": page.after}
        rows = await self._database.fetch(
            Waitpoint,
            WAITPOINTS.list_newer if backwards else WAITPOINTS.list_older,
            environment=environment_id,
            statuses=list(filters.statuses) or None,
            tags=list(filters.tags) or None,
            idempotency_key=filters.idempotency_key,
            created_from=filters.created_from,
            created_to=filters.created_to,
            size=page.size + 1,
            **cursor,
        )
        shown = sorted(rows[: page.size], key=lambda each: each.id, reverse=True)
        has_more = len(rows) > page.size
        newer = has_more if backwards else page.after is not None
        older = bool(shown) if backwards else has_more
        return WaitpointPage(
            tuple(shown),
            next=shown[-1].id if shown and older else None,
            previous=shown[0].id if shown and newer else None,
        )

    async def complete(self, environment_id: str, waitpoint: str, output: str | None) -> None:
        """Complete a token with JSON text; one that has ended stays as it is. Raises `NotFound`."""
        if (await self.retrieve(environment_id, waitpoint)).status == "waiting":
            await self._complete(environment_id, waitpoint, output)

    async def check_callback(self, waitpoint: str, secret: str) -> str:
        """Return the environment that a callback URL opens. Raises `Unauthorized`."""
        if "\0" not in waitpoint:
            found = await self._database.fetch(_Callback, WAITPOINTS.find_callback, id=waitpoint)
            if found and hmac.compare_digest(_hash(secret), found[0].callback_hash):
                return found[0].environment_id
        raise Unauthorized("the callback URL opens no waitpoint token")

    def secret(self, waitpoint: Waitpoint) -> str:
        """Return what stands in a token's callback URL."""
        return self._ring.decrypt(waitpoint.callback_sealed, waitpoint.id)

    async def public_token(self, environment_id: str, waitpoint: Waitpoint) -> str:
        """Return a token for browsers that completes this one, and lives as long as the wait."""
        return await self._tokens.mint_for(
            environment_id,
            (f"write:waitpoints:{waitpoint.id}",),
            begins=waitpoint.created_at,
            ends=waitpoint.timeout_at,
        )

    # ── tasks ─────────────────────────────────────────────────────────────────────────────────

    async def prepare(self, environment_id: str, run: str, call: Call) -> Outcome | None:
        """Do what a task's call needs before its entry is made; return what the entry will hold.

        Raises `InvalidRequest`, `NotFound`: the call raises in the code, nothing is recorded.
        """
        if call.kind == "token":
            await self.retrieve(environment_id, call.target or "")
        if call.new is None:
            return None
        made, is_cached = await self.create(
            environment_id, call.new, request_key=f"{run}/{call.key}"
        )
        return Outcome(ok=True, value=msgspec.json.encode(_Made(made.id, is_cached)).decode())

    async def reveal(self, place: Place, outcome: Outcome) -> Outcome:
        """Return the outcome of a token's making as the task gets it, with what opens the token."""
        made = _made.decode(outcome.value or "")
        waitpoint = await self.retrieve(place.environment, made.id)
        token = MadeToken(
            id=made.id,
            is_cached=made.is_cached,
            url=callback_url(place.api_url, made.id, self.secret(waitpoint)),
            public_access_token=await self.public_token(place.environment, waitpoint),
        )
        return Outcome(ok=True, value=msgspec.json.encode(token).decode())

    async def reveal_entries(self, place: Place, entries: Sequence[Entry]) -> list[Entry]:
        """Return a journal in which the tokens that the task made can be used."""
        return [
            msgspec.structs.replace(entry, outcome=await self.reveal(place, entry.outcome))
            if entry.kind == "waitpoint" and entry.outcome is not None
            else entry
            for entry in entries
        ]

    async def _complete(self, environment_id: str, waitpoint: str, output: str | None) -> None:
        await self._cycles.of(environment_id).ask(Completion(waitpoint=waitpoint, output=output))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def _check(wanted: NewToken) -> None:
    if len(wanted.tags) > MAX_TAGS:
        raise InvalidRequest(f"a token has at most {MAX_TAGS} tags", param="tags")
    for tag in wanted.tags:
        _check_text("tags", tag, MAX_TAG_CHARS)
    if wanted.idempotency_key is not None:
        _check_text("idempotencyKey", wanted.idempotency_key, MAX_KEY_CHARS)
    for param, value, most in (
        ("timeout", wanted.timeout, _MAX_SECONDS),
        ("timeout", wanted.timeout_at or 0.0, _MAX_EPOCH),
        ("idempotencyKeyTTL", wanted.idempotency_key_ttl or 0.0, _MAX_SECONDS),
    ):
        if not 0 <= value <= most:
            raise InvalidRequest(f"{param} is out of range", param=param)


def _check_text(param: str, text: str, longest: int) -> None:
    if not 0 < len(text) <= longest:
        raise InvalidRequest(f"{param} has 1 to {longest} characters each", param=param)
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidRequest(f"{param} holds a character that cannot be stored", param=param)


def _check_page(page: Page) -> None:
    if not 1 <= page.size <= MAX_PAGE:
        raise InvalidRequest(f"a page holds 1 to {MAX_PAGE} tokens", param="page[size]")
    if page.after is not None and page.before is not None:
        raise InvalidRequest("give page[after] or page[before], not both", param="page[before]")
    for param, cursor in (("page[after]", page.after), ("page[before]", page.before)):
        if cursor is not None and not ids.is_id("waitpoint", cursor):
            raise InvalidRequest("this is no cursor of a token list", param=param)
