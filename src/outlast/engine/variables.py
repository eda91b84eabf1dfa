"""Environment variables of the code that workers run: stored encrypted, an environment's own.

A secret one is shown to nobody but workers, for ever. Every change raises a revision on the
environment, by which workers notice that they have to ask again.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from outlast.engine.database import Database, Executor
from outlast.engine.errors import Conflict, InvalidRequest, NotFound
from outlast.engine.keys import KeyRing, Keys
from outlast.engine.queries import load

VARIABLES = load("variables")

MAX_VARIABLES = 1000
MAX_NAME_CHARS = 128
MAX_VALUE_BYTES = 32 * 1024
MAX_BYTES = 512 * 1024
"""All values of an environment: the system takes no more when it starts a process."""
_NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{MAX_NAME_CHARS - 1}}}")
_RESERVED = re.compile(r"(?:OUTLAST|TRIGGER)_.*|PYTHONHASHSEED")


class Variable(msgspec.Struct, frozen=True):
    """An environment variable with its value in the clear; whoever shows it asks `is_secret`."""

    name: str
    value: str
    is_secret: bool
    created_at: datetime
    updated_at: datetime
    updated_by: str | None
    """An account by name, or a key by id; None where nobody noted it."""

    def __repr__(self) -> str:
        return f"Variable(name={self.name!r})"


class Snapshot(msgspec.Struct, frozen=True):
    """What a worker gives its processes; `revision` is what the values are at least as new as."""

    revision: int
    values: dict[str, str]
    secrets: tuple[str, ...] = ()
    """Names of the secret ones."""

    def __repr__(self) -> str:
        return f"Snapshot(revision={self.revision})"


class _Stored(msgspec.Struct, frozen=True):
    name: str
    ciphertext: bytes
    is_secret: bool
    created_at: datetime
    updated_at: datetime
    updated_by: str | None


class _Measured(msgspec.Struct, frozen=True):
    variables: int
    bytes: int
    present: list[str]


class _Located(msgspec.Struct, frozen=True):
    environment_id: str
    name: str
    ciphertext: bytes


class _Told(msgspec.Struct, frozen=True):
    told: str


class Variables:
    """The environment variables of all environments."""

    def __init__(self, database: Database, ring: KeyRing, keys: Keys) -> None:
        self._database = database
        self._ring = ring
        self._keys = keys

    async def list(self, environment_id: str) -> list[Variable]:
        """Return every variable of an environment, by name."""
        rows = await self._database.fetch(
            _Stored, VARIABLES.list_variables, environment_id=environment_id
        )
        return [self._open(environment_id, row) for row in rows]

    async def retrieve(self, environment_id: str, name: str) -> Variable:
        """Return one variable. Raises `NotFound`."""
        row = await self._database.fetch_one(
            _Stored, VARIABLES.find_variable, environment_id=environment_id, name=name
        )
        if row is None:
            raise _missing(name)
        return self._open(environment_id, row)

    async def snapshot(self, environment_id: str) -> Snapshot:
        """Return the values for the processes of a worker."""
        revision = await self._database.fetch_value(
            VARIABLES.read_revision, environment_id=environment_id
        )
        assert isinstance(revision, int)
        found = await self.list(environment_id)
        return Snapshot(
            revision,
            {one.name: one.value for one in found},
            tuple(one.name for one in found if one.is_secret),
        )

    async def save(
        self,
        environment_id: str,
        values: Mapping[str, str],
        *,
        mode: Literal["new", "existing", "any"],
        is_secret: bool = False,
        by: str | None = None,
    ) -> None:
        """Write variables, all or none: `new` ones, `existing` ones, or `any`; note `by` whom.

        Raises `Conflict` for a name that is there although it must be new, `NotFound` for one that
        is not, and `InvalidRequest`, which names the variable but never its value.
        """
        for name, value in values.items():
            _check(name, value)
        async with self._database.transaction() as executor:
            await self._begin(executor, environment_id)
            await self._measure(executor, environment_id, values, mode)
            names = sorted(values)
            await executor.execute(
                VARIABLES.save_variables,
                environment_id=environment_id,
                names=names,
                ciphertexts=[
                    self._ring.encrypt(values[name], _context(environment_id, name))
                    for name in names
                ],
                is_secret=is_secret,
                by=by,
            )
        self._keys.forget(environment_id)

    async def delete(self, environment_id: str, name: str) -> None:
        """Delete a variable. Raises `NotFound`."""
        async with self._database.transaction() as executor:
            await self._begin(executor, environment_id)
            if not await executor.execute(
                VARIABLES.delete_variable, environment_id=environment_id, name=name
            ):
                raise _missing(name)
        self._keys.forget(environment_id)

    async def reencrypt(self) -> int:
        """Encrypt every value under the first encryption key; return how many there are."""
        rows = await self._database.fetch(_Located, VARIABLES.list_all_variables)
        for row in rows:
            context = _context(row.environment_id, row.name)
            value = self._ring.decrypt(row.ciphertext, context)
            await self._database.execute(
                VARIABLES.store_variable,
                environment_id=row.environment_id,
                name=row.name,
                before=row.ciphertext,
                ciphertext=self._ring.encrypt(value, context),
            )
        return len(rows)

    async def _begin(self, executor: Executor, environment_id: str) -> None:
        """Begin a change: others of the same environment wait until it is committed."""
        if not await executor.fetch(_Told, VARIABLES.raise_revision, environment_id=environment_id):
            raise NotFound(f"there is no environment {environment_id!r}")

    async def _measure(
        self,
        executor: Executor,
        environment_id: str,
        values: Mapping[str, str],
        mode: Literal["new", "existing", "any"],
    ) -> None:
        """Hold a change against what is there. Raises as `save` does."""
        found = await executor.fetch_one(
            _Measured,
            VARIABLES.measure_variables,
            environment_id=environment_id,
            names=list(values),
        )
        assert found is not None
        present = set(found.present)
        if mode == "new" and present:
            raise Conflict(
                f"there already: {_some(found.present)}; say `override` to replace",
                code="variable_exists",
            )
        missing = sorted(values.keys() - present)
        if mode == "existing" and missing:
            raise _missing(missing[0])
        if found.variables + len(missing) > MAX_VARIABLES:
            raise InvalidRequest(f"an environment has at most {MAX_VARIABLES:,} variables")
        if found.bytes + sum(len(value.encode()) for value in values.values()) > MAX_BYTES:
            raise InvalidRequest(
                f"the variables of an environment have at most {MAX_BYTES // 1024} KiB together"
            )

    def _open(self, environment_id: str, row: _Stored) -> Variable:
        value = self._ring.decrypt(row.ciphertext, _context(environment_id, row.name))
        return Variable(
            row.name, value, row.is_secret, row.created_at, row.updated_at, row.updated_by
        )


def _context(environment_id: str, name: str) -> str:
    """Return what a ciphertext is bound to: moved to another place it does not open."""
    return f"variable {environment_id} {name}"


def _check(name: str, value: str) -> None:
    if not _NAME.fullmatch(name):
        shown = name[:MAX_NAME_CHARS]
        raise InvalidRequest(
            f"{shown!r} is no name of a variable: letters, digits and _, at most {MAX_NAME_CHARS}",
            param="name",
        )
    if _RESERVED.fullmatch(name):
        raise InvalidRequest(
            f"{name} is the platform's own; names with OUTLAST_ or TRIGGER_ are not stored",
            code="reserved_variable",
            param="name",
        )
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(f"the value of {name} is not Unicode text", param="value") from None
    if "\0" in value:
        raise InvalidRequest(f"the value of {name} has a NUL in it", param="value")
    if size > MAX_VALUE_BYTES:
        raise InvalidRequest(
            f"the value of {name} is over {MAX_VALUE_BYTES // 1024} KiB", param="value"
        )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"  # noqa: PLR2004


def _missing(name: str) -> NotFound:
    return NotFound(f"there is no variable {name[:MAX_NAME_CHARS]!r} in this environment")
