"""What a worker is told: where to connect, what to run and how much at once."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import msgspec

from outlast.protocol.machines import PRESETS, Machine
from outlast.protocol.manifests import MAX_ATTEMPTS, RetryPolicy
from outlast.sdk.durations import seconds
from outlast.sdk.errors import UsageError
from outlast.worker.environment import Stored, is_development

SHARED_CONCURRENCY = 500
WARM_WAIT = 600.0
SYNC_WARM_WAIT = 30.0
DRAIN = 25.0
"""Seconds that runs get to reach their next entry; Kubernetes kills after 30."""


LogLevelName = Literal["debug", "info", "log", "warn", "error"]


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a worker needs to know. Times in seconds.

    `api_urls` are servers of one installation, tried in turn. `dirs` are folders below
    `project_root` or dotted packages. `loops` shared executors run `shared_concurrency` async runs
    each; at most `processes` dedicated ones execute at once. `log_level` is the least that `logger`
    says; `console` shows lines of runs on the terminal too. `executor_command` replaces the
    executor (for tests). `machines` are the presets that tasks may ask for; the kernel keeps their
    memory if it can be asked to below `cgroups`, else it is measured. `stored` are the variables
    of the environment on the server. Without
    `retries` every task has one attempt, whatever it declares; a trigger may ask for more.
    `max_duration` and `ttl` count for tasks that declare none.
    """

    api_urls: tuple[str, ...]
    secret_key: str
    project_root: Path
    dirs: tuple[str, ...] = ("trigger",)
    project: str | None = None
    name: str = ""
    loops: int = 1
    processes: int = os.cpu_count() or 1
    shared_concurrency: int = SHARED_CONCURRENCY
    warm_wait: float = WARM_WAIT
    sync_warm_wait: float = SYNC_WARM_WAIT
    replay_always: bool = False
    drain: float = DRAIN
    retry: RetryPolicy = RetryPolicy()
    retries: bool = True
    max_duration: float | None = 3600.0
    ttl: float | None = None
    log_level: LogLevelName = "info"
    console: bool = True
    executor_command: tuple[str, ...] | None = None
    machines: Mapping[str, Machine] = PRESETS
    cgroups: Path | None = None
    stored: Stored = Stored()

    def __post_init__(self) -> None:
        if not self.api_urls:
            raise ValueError("no server is named: give at least one api url")
        if min(self.loops, self.processes, self.shared_concurrency) < 1:
            raise ValueError("loops, processes and shared_concurrency must be at least 1")

    def __repr__(self) -> str:
        return f"WorkerSettings({', '.join(self.api_urls)}, {self.project_root})"


class Overrides(TypedDict, total=False):
    """Fields of `WorkerSettings` that a command line may say; None means "not said"."""

    name: str | None
    loops: int | None
    processes: int | None
    drain: float | None
    replay_always: bool | None
    executor_command: tuple[str, ...] | None
    machines: Mapping[str, Machine] | None
    cgroups: Path | None


class _Retries(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    max_attempts: int = 3
    factor: float = 2.0
    min_timeout: float | str = 1.0
    max_timeout: float | str = 60.0
    randomize: bool = True
    out_of_memory: str | None = None
    enabled_in_dev: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.max_attempts <= MAX_ATTEMPTS:
            raise ValueError(f"retries.max_attempts must be between 1 and {MAX_ATTEMPTS}")
        if self.out_of_memory is not None and self.out_of_memory not in PRESETS:
            raise ValueError(f"retries.out_of_memory must be one of {', '.join(PRESETS)}")

    def policy(self) -> RetryPolicy:
        return RetryPolicy(
            self.max_attempts,
            self.factor,
            seconds(self.min_timeout, "retries.min_timeout in [tool.outlast]"),
            seconds(self.max_timeout, "retries.max_timeout in [tool.outlast]"),
            self.randomize,
            self.out_of_memory,
        )


class _Project(msgspec.Struct, frozen=True):
    """`[tool.outlast]` of pyproject.toml; what other commands read is ignored here."""

    project: str | None = None
    dirs: tuple[str, ...] | None = None
    retries: _Retries = _Retries()
    max_duration: float | str | None = 3600.0
    ttl: float | str | None = None
    log_level: LogLevelName = "info"
    console: bool = True


def project_root(start: Path) -> Path:
    """Return the nearest folder from `start` upwards that has a pyproject.toml, else `start`."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file():
            return folder
    return start


def load_settings(
    root: Path,
    *,
    api_urls: Sequence[str],
    secret_key: str,
    dirs: Sequence[str] | None = None,
    **overrides: Unpack[Overrides],
) -> WorkerSettings:
    """Return the settings of the project at `root`: arguments win over `[tool.outlast]`.

    Raises `ValueError` that names the field of pyproject.toml to correct.
    """
    project = _read(root / "pyproject.toml")
    try:
        settings = WorkerSettings(
            api_urls=tuple(api_urls),
            secret_key=secret_key,
            project_root=root.resolve(),
            project=project.project,
            dirs=tuple(dirs or project.dirs or _default_dirs(root)),
            retry=project.retries.policy(),
            retries=project.retries.enabled_in_dev or not is_development(secret_key),
            max_duration=_seconds(project.max_duration, "max_duration"),
            ttl=_seconds(project.ttl, "ttl"),
            log_level=project.log_level,
            console=project.console,
        )
    except UsageError as error:
        raise ValueError(str(error)) from error
    said = {name: value for name, value in overrides.items() if value is not None}
    return msgspec.structs.replace(settings, **said)


def _default_dirs(root: Path) -> tuple[str, ...]:
    if not (root / "trigger").is_dir() and (root / "src" / "trigger").is_dir():
        return ("src/trigger",)
    return ("trigger",)


def _read(file: Path) -> _Project:
    if not file.is_file():
        return _Project()
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("outlast", {})
        return msgspec.convert(table, _Project)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not valid TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise ValueError(f"[tool.outlast] in {file}: {error}") from error


def _seconds(value: float | str | None, name: str) -> float | None:
    return None if value is None else seconds(value, f"{name} in [tool.outlast]")
