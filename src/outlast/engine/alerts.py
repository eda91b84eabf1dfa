"""Alerts: who is told when runs fail, errors appear or versions change, and the note of each.

Addresses and secrets lie encrypted, each bound to its alert. What happened is noted in the
transaction that made it happen; `deliveries.py` tells it.
"""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import SplitResult, urlsplit

import msgspec

from outlast.engine.database import Database, Executor
from outlast.engine.errors import InvalidRequest, NotFound
from outlast.engine.ids import Ids
from outlast.engine.keys import KeyRing, random_text
from outlast.engine.queries import load
from outlast.protocol.alerts import MAX_ADDRESS_CHARS, MAX_NAME_CHARS, AlertType, Channel

ALERTS = load("alerts")

MOST_ALERTS = 100
"""Of an environment."""
_SECRET_CHARS = 40
_MAX_EMAIL_CHARS = 320


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as lists show it; `waiting` counts what has yet to be told."""

    id: str
    environment_id: str
    name: str
    channel: Channel
    shown_address: str
    types: tuple[AlertType, ...]
    enabled: bool
    waiting: int
    last_error: str | None
    delivered_at: datetime | None
    created_at: datetime
    created_by: str | None


class Destination(msgspec.Struct, frozen=True):
    """Where an alert goes, in the clear; only webhooks have a secret."""

    name: str
    channel: Channel
    address: str
    secret: str | None

    def __repr__(self) -> str:
        return f"Destination(name={self.name!r})"


class Noted(msgspec.Struct, frozen=True):
    """Something that happened outside of a turn: to which object, and what."""

    environment_id: str
    subject: str
    detail: str = ""


class Sealed(msgspec.Struct, frozen=True):
    """A destination as it is stored."""

    name: str
    channel: Channel
    address_sealed: bytes
    secret_sealed: bytes | None


class _Id(msgspec.Struct, frozen=True):
    id: str


class Alerts:
    """The alerts of all environments."""

    def __init__(self, database: Database, *, ring: KeyRing, ids: Ids) -> None:
        self._database = database
        self._ring = ring
        self._ids = ids

    async def list(self, environment_id: str) -> list[Alert]:
        """Return the alerts of an environment, by name."""
        return [*await self._read(environment_id, None)]

    async def retrieve(self, environment_id: str, alert_id: str) -> Alert:
        """Return an alert. Raises `NotFound`."""
        found = await self._read(environment_id, alert_id)
        if not found:
            raise _missing(alert_id)
        return found[0]

    async def create(
        self,
        environment_id: str,
        *,
        name: str,
        channel: Channel,
        address: str,
        types: Sequence[AlertType],
        by: str | None = None,
    ) -> tuple[Alert, str | None]:
        """Make an alert; return it with the secret of a webhook. Raises `InvalidRequest`."""
        _check_name(name)
        shown = shown_address(channel, address)
        alert_id = self._ids.new("alert")
        secret = random_text(_SECRET_CHARS) if channel == "webhook" else None
        made = await self._database.execute(
            ALERTS.insert_alert,
            id=alert_id,
            environment_id=environment_id,
            name=name,
            channel=channel,
            address_sealed=self._ring.encrypt(address, _context(alert_id, "address")),
            secret_sealed=secret and self._ring.encrypt(secret, _context(alert_id, "secret")),
            shown_address=shown,
            types=_types(types),
            created_by=by,
            most=MOST_ALERTS,
        )
        if not made:
            raise InvalidRequest(f"an environment has at most {MOST_ALERTS} alerts")
        return await self.retrieve(environment_id, alert_id), secret

    async def change(
        self,
        environment_id: str,
        alert_id: str,
        *,
        name: str | None = None,
        types: Sequence[AlertType] | None = None,
        enabled: bool | None = None,
    ) -> Alert:
        """Change an alert; a disabled one forgets what it had yet to tell. Raises `NotFound`."""
        if name is not None:
            _check_name(name)
        await self._database.execute(
            ALERTS.change_alert,
            environment_id=environment_id,
            id=_checked(alert_id),
            name=name,
            types=None if types is None else _types(types),
            enabled=enabled,
        )
        return await self.retrieve(environment_id, alert_id)

    async def delete(self, environment_id: str, alert_id: str) -> None:
        """Delete an alert with what it had yet to tell. Raises `NotFound`."""
        gone = await self._database.fetch(
            _Id, ALERTS.delete_alert, environment_id=environment_id, id=_checked(alert_id)
        )
        if not gone:
            raise _missing(alert_id)

    async def destination(self, environment_id: str, alert_id: str) -> Destination:
        """Return where an alert goes. Raises `NotFound`."""
        found = await self._database.fetch_one(
            Sealed, ALERTS.find_destination, environment_id=environment_id, id=_checked(alert_id)
        )
        if found is None:
            raise _missing(alert_id)
        return self.opened(alert_id, found)

    def opened(self, alert_id: str, stored: Sealed) -> Destination:
        """Return a stored destination in the clear. Raises `EngineError` without its key."""
        secret = None
        if stored.secret_sealed is not None:
            secret = self._ring.decrypt(stored.secret_sealed, _context(alert_id, "secret"))
        address = self._ring.decrypt(stored.address_sealed, _context(alert_id, "address"))
        return Destination(stored.name, stored.channel, address, secret)

    async def _read(self, environment_id: str, alert_id: str | None) -> Sequence[Alert]:
        return await self._database.fetch(
            Alert,
            ALERTS.list_alerts,
            environment_id=environment_id,
            id=None if alert_id is None else _checked(alert_id),
        )


async def note(
    executor: Executor,
    alert_type: AlertType,
    happened: Sequence[Noted],
    *,
    at: datetime | None = None,
) -> None:
    """Note what happened in the caller's transaction, for whoever wants to be told.

    `at`: the durable time of tests; None: the database's.
    """
    await executor.execute(
        ALERTS.note,
        type=alert_type,
        environments=[one.environment_id for one in happened],
        subjects=[one.subject for one in happened],
        details=[one.detail for one in happened],
        clock=at,
    )


def shown_address(channel: Channel, address: str) -> str:
    """Return what may be shown of an address. Raises `InvalidRequest` for one that is none."""
    if channel == "email":
        local, _, domain = address.rpartition("@")
        if not (local and domain and len(address) <= _MAX_EMAIL_CHARS) or not _is_plain(address):
            raise InvalidRequest("an e-mail alert goes to one address: name@host", param="address")
        return address
    url = _split(address)
    return url.netloc + url.path if channel == "webhook" else url.netloc


def _split(address: str) -> SplitResult:
    try:
        url = urlsplit(address)
        is_right = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        is_right = False
    if not is_right or not _is_plain(address) or len(address) > MAX_ADDRESS_CHARS:
        raise InvalidRequest("the address is no http:// or https:// URL", param="address")
    if "@" in url.netloc:
        raise InvalidRequest(
            "the address names a user; webhooks are signed, they do not log in", param="address"
        )
    return url


def _is_plain(address: str) -> bool:
    """Return whether nothing in it could end a header or a line."""
    return address.isascii() and address.isprintable() and not set(address) & set(' <>,;"\\')


def _types(types: Sequence[AlertType]) -> list[AlertType]:
    if not types:
        raise InvalidRequest("an alert has at least one type", param="types")
    return list(dict.fromkeys(types))


def _check_name(name: str) -> None:
    if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise InvalidRequest(f"a name has 1 to {MAX_NAME_CHARS} characters", param="name")


def _checked(alert_id: str) -> str:
    """Return an id that can stand in a statement. Raises `NotFound`."""
    if "\0" in alert_id or not alert_id.isascii():
        raise _missing(alert_id)
    return alert_id


def _context(alert_id: str, what: str) -> str:
    """Return what a ciphertext is bound to: moved to another place it does not open."""
    return f"alert {alert_id} {what}"


def _missing(alert_id: str) -> NotFound:
    return NotFound(f"there is no alert {alert_id[:80]!r} in this environment")
