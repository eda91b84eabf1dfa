"""What discovery found, as data, and how a process without user code asks for it."""

import asyncio
import sys
from typing import TYPE_CHECKING

import msgspec

from outlast.protocol.manifests import Manifest, RetryPolicy
from outlast.worker.environment import executor_environment, is_development, local_variables

if TYPE_CHECKING:
    from outlast.worker.settings import WorkerSettings

_PATIENCE = 120.0  # seconds for importing a whole project, cold caches included


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why one file could not be imported or one task not be described."""

    file: str
    message: str
    line: int | None = None
    stack: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}"


class Findings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a project declares. Without a manifest nothing at all could be found out.

    `once` are the tasks that would have more attempts if retries were not off here.
    """

    manifest: Manifest | None = None
    errors: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    once: tuple[str, ...] = ()


class Scope(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Where to look, and the project's defaults for tasks that do not say otherwise."""

    root: str
    dirs: tuple[str, ...]
    retry: RetryPolicy = RetryPolicy()
    retries: bool = True
    max_duration: float | None = 3600.0
    ttl: float | None = None


async def find(settings: "WorkerSettings") -> Findings:
    """Run discovery in a fresh process. Never raises for what user code does there."""
    scope = Scope(
        root=str(settings.project_root),
        dirs=settings.dirs,
        retry=settings.retry,
        retries=settings.retries,
        max_duration=settings.max_duration,
        ttl=settings.ttl,
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "outlast.worker.discovery", "--config", msgspec.json.encode(scope).decode()),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        cwd=settings.project_root,
        env=executor_environment(
            settings.secret_key, stored=settings.stored, root=settings.project_root
        ),
        start_new_session=True,  # a Ctrl-C in the terminal is for the supervisor alone
    )
    try:
        async with asyncio.timeout(_PATIENCE):
            answer, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return _failed(settings, f"importing the tasks took more than {_PATIENCE:.0f} s")
    except asyncio.CancelledError:
        process.kill()
        raise
    try:
        found = msgspec.json.decode(answer, type=Findings)
    except msgspec.DecodeError:
        return _failed(settings, f"importing the tasks ended Python with {process.returncode}")
    if not is_development(settings.secret_key):
        return found
    faults = local_variables(settings.project_root)[1]
    return msgspec.structs.replace(found, warnings=(*faults, *found.warnings))


def _failed(settings: "WorkerSettings", message: str) -> Findings:
    return Findings(errors=(Problem(", ".join(settings.dirs), message),))
