"""Find the tasks of a project: import its task modules once and describe what they declared.

Modules are imported under their dotted names, so that `import trigger.orders` in the application
and the worker's import are the same module. Run as `python -m outlast.worker.discovery`, it prints
its findings as JSON, because the supervisor itself holds no user code.
"""

import argparse
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from outlast.protocol.manifests import Manifest, QueueManifest, TaskManifest
from outlast.sdk.registry import Registry, registry
from outlast.worker.bytecode import distrust_young
from outlast.worker.findings import Findings, Problem, Scope

SLOW_IMPORT = 2.0
"""Seconds after which an import is named in a warning."""

_NOT_TASKS = re.compile(r"(test_.*|.*_test|conftest)\.py")
_NOT_CODE = frozenset({"node_modules", "__pycache__", "site-packages", "venv"})


@dataclass(frozen=True)
class Discovered:
    """Imported task modules: what they registered and what went wrong."""

    registry: Registry
    root: Path
    files: tuple[Path, ...]
    errors: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Module:
    name: str
    file: Path


def import_tasks(root: Path, dirs: Sequence[str]) -> Discovered:
    """Import every task module of `dirs` (folders below `root`, or dotted packages) once.

    To be called once per process, before anything else imports the project. A broken module becomes
    an error and does not hide the others; `SystemExit` at import counts as broken.
    """
    root = root.resolve()
    _extend_path(root)
    distrust_young(root)
    errors = _set_up_django()
    modules: dict[str, _Module] = {}
    for entry in dirs:
        try:
            modules.update((module.name, module) for module in _modules(root, entry))
        except (ImportError, OSError, ValueError) as error:
            errors.append(Problem(entry, str(error)))
    files = frozenset(module.file for module in modules.values())
    warnings: list[str] = []
    for module in modules.values():
        started = time.monotonic()
        problem = _import(module, root, files)
        if problem is not None and all(problem.file != known.file for known in errors):
            errors.append(problem)
        if (took := time.monotonic() - started) > SLOW_IMPORT:
            warnings.append(f"importing {module.name} took {took:.1f} s: every executor pays that")
    warnings += _warnings(registry, root, files, dirs)
    if not (registry.tasks or errors):
        places = ", ".join(dirs)
        warnings.append(f"no task is declared in {places}; put @task(id) on a function there")
    return Discovered(registry, root, tuple(sorted(files)), tuple(errors), tuple(warnings))


def discover(scope: Scope) -> Findings:
    """Import and describe; every error is in the findings."""
    discovered = import_tasks(Path(scope.root), scope.dirs)
    tasks, errors = _describe(discovered, scope)
    manifest = _manifest(discovered, tuple(tasks if scope.retries else map(_once, tasks)))
    once = () if scope.retries else tuple(each.id for each in tasks if each.retry.max_attempts > 1)
    return Findings(manifest, (*discovered.errors, *errors), discovered.warnings, once)


def _extend_path(root: Path) -> None:
    # A console script does not have the project on its path, and the order must not depend on how
    # this process was started.
    wanted = [str(root)]
    if (root / "src").is_dir():
        wanted.append(str(root / "src"))
    sys.path[:] = wanted + [entry for entry in sys.path if entry not in wanted]
    importlib.invalidate_caches()


def _set_up_django() -> list[Problem]:
    if not (settings := os.environ.get("DJANGO_SETTINGS_MODULE")):
        return []
    try:
        importlib.import_module("django").setup()
    except Exception as error:  # noqa: BLE001 - anything may come out of user settings
        return [Problem(settings, f"django.setup() failed: {_say(error)}", stack=_stack(error))]
    return []


def _modules(root: Path, entry: str) -> Iterator[_Module]:
    """Yield the task modules of a folder or dotted package: each folder's `init.py` first."""
    folder = (root / entry).resolve()
    if not folder.is_dir():
        folder = _package_folder(entry)
        base = folder
        for _ in entry.split("."):
            base = base.parent
    elif folder.is_relative_to(root / "src"):
        base = root / "src"
    elif folder.is_relative_to(root):
        base = root
    else:
        raise ValueError(
            f"the task folder {entry} lies outside of the project {root}; name it as a package"
        )
    for file in _sources(folder):
        if not _NOT_TASKS.fullmatch(file.name):
            parts = file.relative_to(base).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if name:
                yield _Module(name, file)


def _package_folder(entry: str) -> Path:
    missing = (
        f"there is no task folder or package {entry!r}; create it, set `dirs` in [tool.outlast], "
        "or begin a project here with: outlast init"
    )
    if re.fullmatch(r"\w+(\.\w+)*", entry) is None:
        raise ValueError(missing)
    try:
        spec = importlib.util.find_spec(entry)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(missing)
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _sources(folder: Path) -> Iterator[Path]:
    """Yield the Python files below a folder, in the one order that all processes use."""
    entries = sorted(folder.iterdir(), key=lambda path: (path.name != "init.py", path.name))
    yield from (path for path in entries if path.suffix == ".py" and path.is_file())
    for path in entries:
        hidden = path.name.startswith(".") or path.name in _NOT_CODE
        if path.is_dir() and not hidden and not (path / "pyvenv.cfg").exists():
            yield from _sources(path)


def _import(module: _Module, root: Path, files: frozenset[Path]) -> Problem | None:
    try:
        imported = importlib.import_module(module.name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - `sys.exit()` at import is one broken file
        file, line = _origin(error, module.file, files)
        return Problem(_show(file, root), _say(error), line, _stack(error))
    found = getattr(imported, "__file__", None)
    if found is not None and Path(found).resolve() != module.file:
        return Problem(
            _show(module.file, root),
            f"the name {module.name} belongs to {found}; rename the folder or the module",
        )
    return None


def _origin(error: BaseException, file: Path, files: frozenset[Path]) -> tuple[Path, int | None]:
    """Return the task file to blame: a module that only imports a broken one is not broken."""
    if isinstance(error, SyntaxError) and error.filename:
        broken = Path(error.filename).resolve()
        return (broken, error.lineno)
    blamed: tuple[Path, int | None] = (file, None)
    for frame, line in traceback.walk_tb(error.__traceback__):
        at = Path(frame.f_code.co_filename)
        if frame.f_code.co_name == "<module>" and at.resolve() in files:
            blamed = (at.resolve(), line)
    return blamed


def _say(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    return f"{type(error).__name__}: {error}"


def _stack(error: BaseException) -> str:
    return "".join(traceback.format_exception(error, limit=-20))


def _show(file: Path, root: Path) -> str:
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)


def _warnings(
    found: Registry, root: Path, files: frozenset[Path], dirs: Sequence[str]
) -> Iterator[str]:
    places = ", ".join(dirs)
    for task in found.tasks.values():
        module = sys.modules.get(task.function.__module__)
        source = getattr(module, "__file__", None)
        if source is not None and Path(source).resolve() not in files:
            yield (
                f"task {task.id!r} is declared in {_show(Path(source).resolve(), root)}, outside "
                f"of {places}: it exists only because a task module imports it; add its folder to "
                "`dirs` in [tool.outlast]"
            )
        named = getattr(module, task.function.__name__, None)
        if named is not task and getattr(named, "__wrapped__", None) is task:
            yield (
                f"task {task.id!r} is wrapped by another decorator, which the worker does not see; "
                "put @task on top"
            )


def _once(made: TaskManifest) -> TaskManifest:
    """Return a task that is not retried unless a trigger says so."""
    return msgspec.structs.replace(made, retry=msgspec.structs.replace(made.retry, max_attempts=1))


def _describe(discovered: Discovered, scope: Scope) -> tuple[list[TaskManifest], list[Problem]]:
    tasks: list[TaskManifest] = []
    errors: list[Problem] = []
    for _, task in sorted(discovered.registry.tasks.items()):
        try:
            task.check()
            made = task.manifest(
                scope.retry,
                default_max_duration=scope.max_duration,
                default_ttl=scope.ttl,
                root=discovered.root,
            )
            tasks.append(made)
        except Exception as error:  # noqa: BLE001 - hints and schemas run user code
            source = getattr(sys.modules.get(task.function.__module__), "__file__", task.id)
            place = _show(Path(source).resolve(), discovered.root)
            errors.append(Problem(place, f"task {task.id!r}: {_say(error)}", stack=_stack(error)))
    return tasks, errors


def _manifest(discovered: Discovered, tasks: tuple[TaskManifest, ...]) -> Manifest:
    """Return what is offered. The digest names the version: equal code, equal version."""
    queues = tuple(queue for _, queue in sorted(discovered.registry.queues.items()))
    return Manifest(
        digest=_digest(discovered, tasks, queues),
        tasks=tasks,
        queues=queues,
        runtime=f"python {platform.python_version()}",
        sdk=importlib.metadata.version("outlast"),
    )


def _digest(
    discovered: Discovered, tasks: tuple[TaskManifest, ...], queues: tuple[QueueManifest, ...]
) -> str:
    """Return the version's name: task code, Python's minor version and what was declared."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"python {sys.version_info.major}.{sys.version_info.minor}\n".encode())
    for file in sorted(set(discovered.files) | set(_project_code(discovered.root))):
        code = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
        digest.update(f"{_show(file, discovered.root)} {code}\n".encode())
    digest.update(msgspec.json.encode([tasks, queues], order="deterministic"))
    return digest.hexdigest()


def _project_code(root: Path) -> Iterator[Path]:
    """Yield every source of the project's packages that the tasks imported.

    Whole packages, because a task may import the rest of them only when it runs.
    """
    tops = {name.partition(".")[0] for name in list(sys.modules)}
    for top in sorted(tops):
        module = sys.modules.get(top)
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        for place in filter(None, places):
            path = Path(place).resolve()
            if not path.is_relative_to(root) or _is_foreign(path, root):
                continue
            found = _sources(path) if path.is_dir() else iter([path])
            yield from (file for file in found if not _NOT_TASKS.fullmatch(file.name))


def _is_foreign(path: Path, root: Path) -> bool:
    """Say whether a file below the project is installed there rather than written there."""
    parts = path.relative_to(root).parts
    return any(part.startswith(".") or part in _NOT_CODE for part in parts)


def main() -> None:
    """Print the findings for the scope given by `--config`, a JSON object, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m outlast.worker.discovery")
    parser.add_argument("--config", required=True)
    scope = msgspec.json.decode(parser.parse_args().config, type=Scope)
    # Task modules may print at import; the answer must stay the only thing on stdout.
    answer = os.dup(1)
    os.dup2(2, 1)
    findings = discover(scope)
    with os.fdopen(answer, "wb") as out:
        out.write(msgspec.json.encode(findings))


if __name__ == "__main__":
    main()
