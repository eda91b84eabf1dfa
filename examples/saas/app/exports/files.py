"""Finished files: written beside their name and renamed, so nobody ever reads half of one."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from app.settings import settings


def export_path(run_id: str) -> Path:
    """Return where the file of a run lies. A run that is replayed writes the same file again."""
    return settings().export_folder / f"{run_id}.csv"


def download_url(run_id: str) -> str:
    """Return the link that goes into the mail."""
    return f"{settings().app_url.rstrip('/')}/exports/{run_id}.csv"


def write_atomically(path: Path, parts: Iterable[str]) -> int:
    """Write the parts to `path`, all or nothing, and return the size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    return path.stat().st_size
