"""When the project's code changed: debounced, and deaf to what no version depends on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

DEBOUNCE_MILLISECONDS = 300
_LONGEST_BURST = 1_500
_POLL_MILLISECONDS = 300
_IGNORED = frozenset({"node_modules", "__pycache__", "site-packages", "venv", "dist", "build"})


async def watch(
    root: Path, changed: Callable[[frozenset[Path]], None], *, poll: bool = False
) -> None:
    """Call `changed` with the files below `root` that may change a version, until cancelled.

    The root itself is watched flat and its folders deep, so that `.outlast`, where a database
    writes all the time, and virtual environments cost nothing. A new folder counts at once.
    """

    def tell(burst: frozenset[Path]) -> None:
        if counted := frozenset(path for path in burst if counts(path, root)):
            changed(counted)

    async with asyncio.TaskGroup() as group:
        folders = _folders(root)
        deep = group.create_task(_deep(folders, tell, poll=poll))
        async for burst in _bursts((root,), poll=poll, recursive=False):
            if (found := _folders(root)) != folders:
                folders = found
                deep.cancel()
                deep = group.create_task(_deep(folders, tell, poll=poll))
                # What was written into a new folder before it was watched counts too.
                new = (path for path in burst if path in folders)
                tell(frozenset(file for path in new for file in path.rglob("*.py")))
            tell(burst)


def counts(path: Path, root: Path) -> bool:
    """Say whether a changed path may change what the tasks are."""
    parts = path.relative_to(root).parts
    if any(_is_ignored(part) for part in parts[:-1]):
        return False
    return path.suffix == ".py" or parts in {("pyproject.toml",), (".env",)}


def _folders(root: Path) -> tuple[Path, ...]:
    found = (path for path in root.iterdir() if path.is_dir() and not _is_ignored(path.name))
    return tuple(sorted(path for path in found if not (path / "pyvenv.cfg").exists()))


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name in _IGNORED


async def _deep(
    folders: tuple[Path, ...], tell: Callable[[frozenset[Path]], None], *, poll: bool
) -> None:
    if folders:
        async for burst in _bursts(folders, poll=poll, recursive=True):
            tell(burst)


async def _bursts(
    paths: tuple[Path, ...], *, poll: bool, recursive: bool
) -> AsyncIterator[frozenset[Path]]:
    from watchfiles import awatch

    watched = awatch(
        *paths,
        watch_filter=None,
        debounce=_LONGEST_BURST,
        step=DEBOUNCE_MILLISECONDS,  # quiet for this long ends a burst
        recursive=recursive,
        force_polling=poll or None,
        poll_delay_ms=_POLL_MILLISECONDS,
    )
    async for burst in watched:
        yield frozenset(Path(path) for _, path in burst)
