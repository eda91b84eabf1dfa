"""Environment keys: made, rotated and checked; shown once, stored hashed, root keys encrypted too.

A root key signs public tokens on the caller's side, so the server must be able to read it again:
its ciphertext (AES-GCM) stands beside its hash. Additional keys (`_sk_`) are hashed only.
"""

import base64
import binascii
import hashlib
import re
import secrets
import string
from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from outlast.engine.database import Database, Executor
from outlast.engine.errors import Conflict, EngineError, InvalidRequest, NotFound
from outlast.engine.expiring import Expiring
from outlast.engine.queries import load
from outlast.protocol.ids import new_id

KEYS = load("keys")
TENANCY = load("tenancy")

GRACE_SECONDS = 24 * 3600.0
"""How long a rotated root key goes on working."""
_ALPHABET = string.ascii_letters + string.digits
_ROOT_CHARS = 32
_ADDITIONAL_CHARS = 24
_SECRET_BYTES = 32
_NONCE_BYTES = 12
_CACHE_SECONDS = 5.0
_CACHE_SIZE = 1024
_MAX_NAME_CHARS = 64
_ROOT_KEY = re.compile(r"tr_(dev|stg|prod|preview)_[A-Za-z0-9]{32,128}")

KeyKind = Literal["root", "additional"]


class KeyRing:
    """Encryption keys in order: the first encrypts, every one decrypts."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        """Take base64 texts of 32 bytes each, as in `OUTLAST_ENCRYPTION_KEYS`."""
        if not keys:
            raise InvalidRequest(
                "no encryption key is set; put one into OUTLAST_ENCRYPTION_KEYS "
                "(`openssl rand -base64 32`)"
            )
        self._ciphers = [AESGCM(_decode(number, key)) for number, key in enumerate(keys, start=1)]

    @staticmethod
    def generate() -> str:
        """Return a new encryption key as it stands in the setting."""
        return base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()

    def encrypt(self, text: str, context: str) -> bytes:
        """Return the ciphertext; it opens only for the same `context`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, text.encode(), context.encode())

    def decrypt(self, data: bytes, context: str) -> str:
        """Return the text. Raises `EngineError` when none of the keys fits."""
        nonce, body = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(nonce, body, context.encode()).decode()
            except InvalidTag:
                continue
        raise EngineError(
            f"a secret of {context} was encrypted under a key that is not in "
            "OUTLAST_ENCRYPTION_KEYS; add the old key behind the new one",
            code="unknown_encryption_key",
        )


class NewKey(msgspec.Struct, frozen=True):
    """A key that was just made; `secret` is never shown again."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"NewKey(id={self.id!r})"


class KeyInfo(msgspec.Struct, frozen=True):
    """What may be shown of a key later."""

    id: str
    kind: KeyKind
    name: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    """To the minute."""


class _StoredRootKey(msgspec.Struct, frozen=True):
    id: str
    ciphertext: bytes


class _Slug(msgspec.Struct, frozen=True):
    slug: str


class _Told(msgspec.Struct, frozen=True):
    told: str


class Keys:
    """The keys of all environments."""

    def __init__(self, database: Database, ring: KeyRing) -> None:
        self._database = database
        self._ring = ring
        self._roots: Expiring[str, tuple[str, ...]] = Expiring(_CACHE_SECONDS, _CACHE_SIZE)
        self._changed: list[Callable[[str], None]] = []

    def on_change(self, forget: Callable[[str], None]) -> None:
        """Call this with the id of an environment whose keys have changed."""
        self._changed.append(forget)

    def forget(self, environment_id: str) -> None:
        """Look again at the keys of an environment: they have changed."""
        self._roots.drop(environment_id)
        for told in self._changed:
            told(environment_id)

    async def create(
        self, environment_id: str, name: str = "", *, seconds: float | None = None
    ) -> NewKey:
        """Make an additional key, for ever or for so long. It cannot sign public tokens itself."""
        if len(name) > _MAX_NAME_CHARS or not name.isprintable():
            raise InvalidRequest(
                f"a key's name has at most {_MAX_NAME_CHARS} characters", param="name"
            )
        if seconds is not None and seconds <= 0:
            raise InvalidRequest("a key lives for more than 0 s", param="expires")
        async with self._database.transaction() as executor:
            slug = await self._lock(executor, environment_id)
            secret = f"tr_{slug}_sk_{random_text(_ADDITIONAL_CHARS)}"
            return await self._insert(
                executor, environment_id, secret, "additional", name, seconds=seconds
            )

    async def rotate(self, environment_id: str, *, grace: float = GRACE_SECONDS) -> NewKey:
        """Make a new root key; the present one goes on working for the grace period."""
        async with self._database.transaction() as executor:
            slug = await self._lock(executor, environment_id)
            await executor.execute(
                KEYS.retire_root_keys, environment_id=environment_id, grace=grace
            )
            made = await self.insert_root(executor, environment_id, slug)
        self.forget(environment_id)
        return made

    async def insert_root(
        self, executor: Executor, environment_id: str, slug: str, secret: str | None = None
    ) -> NewKey:
        """Store a root key, a given or a new one, inside the caller's transaction."""
        if secret is None:
            secret = f"tr_{slug}_{random_text(_ROOT_CHARS)}"
        elif not _ROOT_KEY.fullmatch(secret) or not secret.startswith(f"tr_{slug}_"):
            raise InvalidRequest(
                f"a root key of this environment is `tr_{slug}_` and 32 or more letters and digits"
            )
        return await self._insert(executor, environment_id, secret, "root", "")

    async def list(self, environment_id: str) -> list[KeyInfo]:
        """Return the keys that work now, without their secrets."""
        return await self._database.fetch(KeyInfo, KEYS.list_keys, environment_id=environment_id)

    async def revoke(self, environment_id: str, key_id: str) -> None:
        """Delete an additional key. Raises `NotFound`.

        It stops working at once, also on other servers; where they hear no notices within 3 s.
        """
        deleted = await self._database.fetch(
            _Told, KEYS.delete_additional_key, environment_id=environment_id, id=key_id
        )
        if not deleted:
            raise NotFound(f"there is no additional key {key_id!r}; root keys are rotated")
        self.forget(environment_id)

    async def reencrypt(self) -> int:
        """Encrypt every root key under the first encryption key; return how many there are.

        After that the older encryption keys are needed no more.
        """
        rows = await self._database.fetch(_StoredRootKey, KEYS.list_ciphertexts)
        for row in rows:
            secret = self._ring.decrypt(row.ciphertext, row.id)
            await self._database.execute(
                KEYS.store_ciphertext,
                id=row.id,
                before=row.ciphertext,
                ciphertext=self._ring.encrypt(secret, row.id),
            )
        return len(rows)

    async def roots(self, environment_id: str, *, fresh: bool = False) -> tuple[str, ...]:
        """Return the root keys that work now, the current one first."""
        known = None if fresh else self._roots.get(environment_id)
        if known is not None:
            return known
        rows = await self._database.fetch(
            _StoredRootKey, KEYS.list_root_keys, environment_id=environment_id
        )
        found = tuple(self._ring.decrypt(row.ciphertext, row.id) for row in rows)
        if found:
            self._roots.put(environment_id, found)
        return found

    async def _lock(self, executor: Executor, environment_id: str) -> str:
        row = await executor.fetch_one(_Slug, KEYS.lock_environment, environment_id=environment_id)
        if row is None:
            raise NotFound(f"there is no environment {environment_id!r}")
        return row.slug

    async def _insert(
        self,
        executor: Executor,
        environment_id: str,
        secret: str,
        kind: KeyKind,
        name: str,
        *,
        seconds: float | None = None,
    ) -> NewKey:
        moment = await executor.fetch_value(TENANCY.milliseconds)
        assert isinstance(moment, int)
        key_id = new_id("key", moment)
        try:
            await executor.execute(
                KEYS.insert_key,
                hash=key_hash(secret),
                id=key_id,
                environment_id=environment_id,
                kind=kind,
                name=name,
                ciphertext=self._ring.encrypt(secret, key_id) if kind == "root" else None,
                seconds=seconds,
            )
        except EngineError as error:
            if getattr(error, "sqlstate", "") == "23505":
                raise Conflict("this key is in use already; keys are never shared") from error
            raise
        return NewKey(key_id, secret)


def key_hash(secret: str) -> bytes:
    """Return what a key is looked up by."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def random_text(length: int) -> str:
    """Return letters and digits that nobody can guess."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _decode(number: int, text: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _SECRET_BYTES:
        raise InvalidRequest(
            f"encryption key number {number} is not the base64 text of {_SECRET_BYTES} bytes"
        )
    return key
