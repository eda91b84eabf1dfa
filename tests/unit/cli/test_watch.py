"""What counts as a change of the project's code."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from outlast.cli.watch import counts, watch


@pytest.mark.parametrize(
    "path", ["trigger/a.py", "src/shop/orders.py", "pyproject.toml", ".env", "app.py"]
)
def test_code_and_settings_count(path: str, tmp_path: Path) -> None:
    """A version may depend on them."""
    assert counts(tmp_path / path, tmp_path)


@pytest.mark.parametrize(
    "path",
    [
        ".venv/lib/x.py",
        ".outlast/pg18/base/1",
        ".git/hooks/x.py",
        "trigger/__pycache__/a.py",
        "web/node_modules/gyp/x.py",
        "README.md",
        "docs/pyproject.toml",
    ],
)
def test_environments_databases_and_prose_do_not(path: str, tmp_path: Path) -> None:
    """Watching them would loop."""
    assert not counts(tmp_path / path, tmp_path)


@pytest.mark.parametrize("poll", [False, True])
async def test_a_burst_of_saves_is_one_change(tmp_path: Path, poll: bool) -> None:
    """And the database's own writes are none."""
    (tmp_path / "trigger").mkdir()
    (tmp_path / ".outlast").mkdir()

    def save(number: int) -> None:
        for _ in range(3):
            (tmp_path / "trigger" / "a.py").write_text(f"{number}")
        (tmp_path / ".outlast" / "noise.py").write_text(f"{number}")

    assert await _first_change(tmp_path, save, poll=poll) == {tmp_path / "trigger" / "a.py"}


async def test_a_new_folder_begins_to_count(tmp_path: Path) -> None:
    """`outlast dev` may be running before the first task exists."""

    def save(number: int) -> None:
        (tmp_path / "trigger").mkdir(exist_ok=True)
        (tmp_path / "trigger" / "a.py").write_text(f"{number}")

    assert await _first_change(tmp_path, save) == {tmp_path / "trigger" / "a.py"}


async def _first_change(
    root: Path, save: Callable[[int], None], *, poll: bool = False
) -> frozenset[Path]:
    seen: asyncio.Queue[frozenset[Path]] = asyncio.Queue()
    watching = asyncio.create_task(watch(root, seen.put_nowait, poll=poll))
    # The watcher starts in a thread without telling when: save until it has seen something.
    async with asyncio.timeout(20):
        number = 0
        while seen.empty():
            number += 1
            save(number)
            waiting = asyncio.ensure_future(seen.get())
            done, _ = await asyncio.wait({waiting}, timeout=0.9)
            if done:
                seen.put_nowait(waiting.result())
            waiting.cancel()
    watching.cancel()
    await asyncio.wait({watching})
    return seen.get_nowait()
