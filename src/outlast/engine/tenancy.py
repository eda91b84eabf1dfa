"""Projects, their environments, and which environment a key opens."""

import hmac
import re
import secrets
from datetime import datetime
from typing import Literal

import msgspec

from outlast.engine.database import Database
from outlast.engine.errors import Conflict, InvalidRequest, NotFound
from outlast.engine.expiring import Expiring
from outlast.engine.keys import KeyKind, Keys, key_hash
from outlast.engine.queries import load
from outlast.engine.retention import ELSEWHERE, IN_DEV
from outlast.protocol.ids import new_id

TENANCY = load("tenancy")

Slug = Literal["dev", "stg", "prod", "preview"]
SLUGS: tuple[Slug, ...] = ("dev", "stg", "prod")
"""The environments that a new project gets."""
_TYPES: dict[Slug, str] = {
    "dev": "DEVELOPMENT",
    "stg": "STAGING",
    "prod": "PRODUCTION",
    "preview": "PREVIEW",
}
_CONCURRENCY_LIMIT = 100
_CACHE_SECONDS = 3.0
_CACHE_SIZE = 4096
_MAX_KEY_CHARS = 256
_MAX_NAME_CHARS = 200
_MOST_REQUESTS = 100_000_000
_REF = re.compile(r"[a-z0-9][a-z0-9_-]{2,63}")
_REF_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


class Project(msgspec.Struct, frozen=True):
    """A project; `ref` is what users write."""

    id: str
    ref: str
    name: str
    created_at: datetime


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """One environment of a project, with its limits."""

    id: str
    slug: Slug
    project_id: str
    project_ref: str
    project_name: str
    concurrency_limit: int
    burst_factor: float
    paused: bool
    pins_versions: bool
    current_version_id: str | None
    created_at: datetime
    rate_per_minute: int | None = None
    """Requests that each key may make; None: the server's default."""
    rate_burst: int | None = None
    """Requests that each key may make at once after a pause."""
    variables_revision: int = 0
    """Raised by every change of its environment variables."""

    @property
    def type(self) -> str:
        """The environment's kind in the words of the API."""
        return _TYPES[self.slug]


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What a key opens."""

    environment: Environment
    kind: KeyKind
    key_id: str


class NewProject(msgspec.Struct, frozen=True):
    """A project that was just made; `keys` (by slug) are never shown again."""

    project: Project
    environments: tuple[Environment, ...]
    keys: dict[str, str]

    def __repr__(self) -> str:
        return f"NewProject(ref={self.project.ref!r})"


class _Told(msgspec.Struct, frozen=True):
    told: str


class _KeyedEnvironment(Environment, frozen=True, kw_only=True):
    key_hash: bytes
    key_kind: KeyKind
    key_id: str


class Tenancy:
    """Projects and environments. Look-ups by key or id may be a few seconds old."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys
        self._opened: Expiring[bytes, Opened] = Expiring(_CACHE_SECONDS, _CACHE_SIZE)
        self._environments: Expiring[str, Environment] = Expiring(_CACHE_SECONDS, _CACHE_SIZE)
        keys.on_change(self._forget)

    async def create_project(
        self, name: str, *, ref: str | None = None, secrets_by_slug: dict[str, str] | None = None
    ) -> NewProject:
        """Make a project with its environments and their root keys, new or given ones.

        Raises `Conflict` when the ref is taken, `InvalidRequest` when it is malformed.
        """
        given = secrets_by_slug or {}
        ref = ref or f"proj_{''.join(secrets.choice(_REF_ALPHABET) for _ in range(20))}"
        if not _REF.fullmatch(ref):
            raise InvalidRequest(
                f"{ref!r} is no project ref; use 3 to 64 lower-case letters, digits, - and _",
                param="ref",
            )
        if not 0 < len(name) <= _MAX_NAME_CHARS or "\0" in name:
            raise InvalidRequest(f"a name has 1 to {_MAX_NAME_CHARS} characters", param="name")
        keys: dict[str, str] = {}
        async with self._database.transaction() as executor:
            moment = await executor.fetch_value(TENANCY.milliseconds)
            assert isinstance(moment, int)
            project = await executor.fetch_one(
                Project, TENANCY.insert_project, id=new_id("proj", moment), ref=ref, name=name
            )
            if project is None:
                raise Conflict(f"the project ref {ref!r} is taken; choose another one")
            for offset, slug in enumerate(SLUGS):
                environment_id = new_id("env", moment + offset)  # so that they sort as named
                kept = IN_DEV if slug == "dev" else ELSEWHERE
                await executor.execute(
                    TENANCY.insert_environment,
                    id=environment_id,
                    project_id=project.id,
                    slug=slug,
                    concurrency_limit=_CONCURRENCY_LIMIT,
                    pins_versions=slug != "dev",
                    run_days=kept.runs,
                    log_days=kept.logs,
                    stream_days=kept.streams,
                )
                made = await self._keys.insert_root(executor, environment_id, slug, given.get(slug))
                keys[slug] = made.secret
            environments = await executor.fetch(
                Environment, TENANCY.list_environments, project_ref=ref
            )
        return NewProject(project, tuple(environments), keys)

    async def projects(self) -> list[Project]:
        """Return every project, oldest first."""
        return await self._database.fetch(Project, TENANCY.list_projects)

    async def project(self, ref: str) -> Project:
        """Return a project. Raises `NotFound`."""
        found = await self._database.fetch_one(Project, TENANCY.find_project, ref=ref)
        if found is None:
            raise NotFound(f"there is no project {ref!r}; `outlast projects list` shows them")
        return found

    async def environments(self, project_ref: str | None = None) -> list[Environment]:
        """Return the environments of a project, or of all."""
        if project_ref is None:
            return await self._database.fetch(Environment, TENANCY.list_all_environments)
        return await self._database.fetch(
            Environment, TENANCY.list_environments, project_ref=project_ref
        )

    async def environment(self, project_ref: str, slug: str) -> Environment:
        """Return one environment of a project. Raises `NotFound`."""
        present = await self.environments(project_ref)
        for found in present:
            if found.slug == slug:
                return found
        if not present:
            raise NotFound(f"there is no project {project_ref!r}")
        slugs = ", ".join(one.slug for one in present)
        raise NotFound(f"project {project_ref} has no environment {slug!r}; it has {slugs}")

    async def environment_by_id(self, environment_id: str) -> Environment | None:
        """Return an environment by its id."""
        known = self._environments.get(environment_id)
        if known is not None:
            return known
        found = await self._database.fetch_one(
            Environment, TENANCY.find_environment, id=environment_id
        )
        if found is not None:
            self._environments.put(environment_id, found)
        return found

    async def open_key(self, secret: str) -> Opened | None:
        """Return what a secret key opens; None for a key that opens nothing."""
        if not 0 < len(secret) <= _MAX_KEY_CHARS:
            return None
        wanted = key_hash(secret)
        known = self._opened.get(wanted)
        if known is not None:
            return known
        row = await self._database.fetch_one(
            _KeyedEnvironment, TENANCY.find_environment_of_key, hash=wanted
        )
        if row is None or not hmac.compare_digest(row.key_hash, wanted):
            return None
        names = Environment.__struct_fields__
        environment = Environment(**{name: getattr(row, name) for name in names})
        opened = Opened(environment=environment, kind=row.key_kind, key_id=row.key_id)
        self._opened.put(wanted, opened)
        return opened

    async def change(
        self,
        environment_id: str,
        *,
        concurrency_limit: int | None = None,
        burst_factor: float | None = None,
        paused: bool | None = None,
    ) -> None:
        """Change limits or pause of an environment. Raises `NotFound`."""
        if concurrency_limit is not None and not 0 <= concurrency_limit <= 1_000_000:  # noqa: PLR2004
            raise InvalidRequest("a concurrency limit is 0 to 1,000,000", param="concurrencyLimit")
        changed = await self._database.execute(
            TENANCY.change_environment,
            id=environment_id,
            concurrency_limit=concurrency_limit,
            burst_factor=burst_factor,
            paused=paused,
        )
        if not changed:
            raise NotFound(f"there is no environment {environment_id!r}")
        self._forget(environment_id)

    async def limit_rate(
        self, environment_id: str, per_minute: int | None, burst: int | None = None
    ) -> None:
        """Limit the requests of each key; None: as the server does. Raises `NotFound`.

        `burst` may come at once after a pause; unless given, half a minute's worth.
        """
        if per_minute is None:
            burst = None
        else:
            burst = max(1, per_minute // 2) if burst is None else burst
            if not (0 < per_minute <= _MOST_REQUESTS and 0 < burst <= _MOST_REQUESTS):
                raise InvalidRequest(f"a rate limit is 1 to {_MOST_REQUESTS:,}", param="rate")
        limited = await self._database.fetch(
            _Told, TENANCY.limit_rate, id=environment_id, per_minute=per_minute, burst=burst
        )
        if not limited:
            raise NotFound(f"there is no environment {environment_id!r}")
        self._forget(environment_id)

    def _forget(self, environment_id: str) -> None:
        self._environments.drop(environment_id)
        self._opened.clear()
