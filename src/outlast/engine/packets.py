"""Packets: values too large for a request, uploaded and downloaded under addresses of their own.

An address is sealed: whoever holds it may do one thing with one path of one environment, for a few
minutes. Nothing is fetched from where a client says: a path is looked up, never followed.
"""

import base64
import binascii
import time
from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from outlast.engine.agents import in_portions
from outlast.engine.database import Database
from outlast.engine.errors import EngineError, InvalidRequest, NotFound
from outlast.engine.keys import KeyRing
from outlast.engine.payloads import JSON, MAX_PAYLOAD_BYTES, SUPER_JSON, TEXT
from outlast.engine.queries import load
from outlast.protocol.triggers import Refusal, Trigger

PACKETS = load("packets")

STORED = "application/store"
"""The payload type of a trigger whose payload is the path of a packet."""
SECONDS = 3600.0
"""How long an address works."""
KEPT_DAYS = 7
MAX_PATH_CHARS = 512
_PORTION = 100
_TYPES = frozenset({JSON, SUPER_JSON, TEXT})
_CONTEXT = "packet address"

Action = Literal["put", "get", "payload", "output"]


class Packet(msgspec.Struct, frozen=True):
    """A stored value with its type."""

    content_type: str
    data: str


class Address(msgspec.Struct, frozen=True):
    """What a sealed address opens. For `payload` and `output` the path is a run's id."""

    action: Action
    environment: str
    path: str
    expires_at: float


class Store(Protocol):
    """Where packets lie. `upload_url` and `download_url` are None where this server serves them."""

    async def save(self, environment: str, path: str, packet: Packet) -> None:
        """Keep a packet."""

    async def find(self, environment: str, path: str) -> Packet | None:
        """Return a packet, None when there is none."""

    def upload_url(self, environment: str, path: str) -> str | None:
        """Return where a client puts the packet."""

    def download_url(self, environment: str, path: str) -> str | None:
        """Return where a client gets the packet."""


class DatabaseStore:
    """Packets in PostgreSQL: nothing else to run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, environment: str, path: str, packet: Packet) -> None:
        """Keep a packet."""
        await self._database.execute(
            PACKETS.save,
            environment=environment,
            path=path,
            content_type=packet.content_type,
            data=packet.data,
        )

    async def find(self, environment: str, path: str) -> Packet | None:
        """Return a packet, None when there is none."""
        return await self._database.fetch_one(
            Packet, PACKETS.find, environment=environment, path=path
        )

    def upload_url(self, environment: str, path: str) -> None:
        """Return None: the server takes it."""

    def download_url(self, environment: str, path: str) -> None:
        """Return None: the server gives it."""

    async def prune(self) -> int:
        """Delete packets that are a week old; return how many."""
        gone = 0

        async def portion() -> bool:
            nonlocal gone
            found = await self._database.execute(PACKETS.prune, days=KEPT_DAYS, portion=_PORTION)
            gone += found
            return found == _PORTION

        await in_portions(portion)
        return gone


class Packets:
    """Uploads, downloads, and the triggers that name them."""

    def __init__(self, store: Store, ring: KeyRing) -> None:
        self.store = store
        self._ring = ring

    def seal(self, action: Action, environment: str, path: str) -> str:
        """Return an address, good for one thing and for an hour. Raises `InvalidRequest`."""
        _check_path(path)
        address = Address(action, environment, path, time.time() + SECONDS)
        sealed = self._ring.encrypt(msgspec.json.encode(address).decode(), _CONTEXT)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, sealed: str, *actions: Action) -> Address:
        """Return what an address opens. Raises `NotFound` for one that is no good (any more)."""
        try:
            data = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            address = msgspec.json.decode(self._ring.decrypt(data, _CONTEXT), type=Address)
        except (binascii.Error, ValueError, EngineError, msgspec.MsgspecError):
            raise NotFound("this address is no good") from None
        if address.action not in actions or address.expires_at < time.time():
            raise NotFound("this address is no good any more; ask for a new one")
        return address

    async def save(self, address: Address, packet: Packet) -> None:
        """Keep what was uploaded. Raises `InvalidRequest` for a type that no payload has."""
        if packet.content_type not in _TYPES:
            raise InvalidRequest(
                f"a packet's content-type is {JSON}, {SUPER_JSON} or {TEXT}", param="content-type"
            )
        if "\0" in packet.data:
            raise InvalidRequest("a packet cannot hold the character U+0000")
        await self.store.save(address.environment, address.path, packet)

    async def find(self, environment: str, path: str) -> Packet:
        """Return a packet. Raises `NotFound`."""
        found = await self.store.find(environment, path) if _is_path(path) else None
        if found is None:
            raise NotFound(f"there is no packet {path[:80]!r} in this environment")
        return found

    async def opened(
        self, environment: str, triggers: Sequence[Trigger]
    ) -> list[Trigger | Refusal]:
        """Return triggers with their payloads in place of the paths that they name."""
        return [
            await self._opened(environment, one) if one.payload_type == STORED else one
            for one in triggers
        ]

    async def _opened(self, environment: str, trigger: Trigger) -> Trigger | Refusal:
        try:
            packet = await self.find(environment, trigger.payload or "")
        except NotFound as error:
            return Refusal(422, "unknown_packet", f"{error}; upload it first", "payload")
        if len(packet.data.encode()) > MAX_PAYLOAD_BYTES:
            return Refusal(413, "payload_too_large", "the payload is over 3 MB", "payload")
        return msgspec.structs.replace(
            trigger, payload=packet.data, payload_type=packet.content_type
        )


def _is_path(path: str) -> bool:
    return 0 < len(path) <= MAX_PATH_CHARS and "\0" not in path and path.isprintable()


def _check_path(path: str) -> None:
    if not _is_path(path):
        raise InvalidRequest(f"a packet's path has 1 to {MAX_PATH_CHARS} printable characters")
