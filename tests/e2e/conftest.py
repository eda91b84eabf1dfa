"""`outlast dev` on the project of a test, and this process as an application beside it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from outlast import aclose
from outlast.cli.folder import Folder
from programs import Program, free_port, outlast


@pytest.fixture
def dev_options() -> tuple[str, ...]:
    """Return what `outlast dev` is told besides its port."""
    return ()


@pytest.fixture
def dev(project: Path, fresh_url: str, dev_options: tuple[str, ...]) -> Iterator[Program]:
    """Start the project."""
    with outlast(
        "dev", "--port", free_port(), *dev_options, cwd=project, OUTLAST_DATABASE_URL=fresh_url
    ) as program:
        yield program


@pytest.fixture
async def app(
    project: Path, dev: Program, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Program]:
    """Be an application beside the project: no settings, `dev.json` is found."""
    await dev.says("Waiting for tasks")
    for name in ("OUTLAST", "TRIGGER"):
        for rest in ("API_URL", "SECRET_KEY", "VERSION"):
            monkeypatch.delenv(f"{name}_{rest}", raising=False)
    monkeypatch.chdir(project)
    assert (Folder(project).path / "dev.json").exists()
    yield dev
    await aclose()
