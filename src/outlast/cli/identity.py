"""Which project a folder is, and the key that opens its dev environment; both made when missing."""

import contextlib
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from outlast.cli.folder import Folder, Identity
from outlast.cli.terminal import say
from outlast.engine.engine import Engine
from outlast.engine.errors import EngineError, NotFound


async def introduce(engine: Engine, folder: Folder, root: Path) -> Identity:
    """Return the folder's project in this database, with a key that works there.

    The key of earlier starts is kept as long as the database knows it, or can be taught it.
    """
    kept = folder.identity()
    settings = _settings(root)
    ref = settings.get("tool", {}).get("outlast", {}).get("project") or kept.project_ref or None
    if kept.secret_key and (opened := await engine.tenancy.open_key(kept.secret_key)) is not None:
        found = opened.environment
        if found.slug == "dev" and ref in {None, found.project_ref}:
            return replace(kept, project_ref=found.project_ref)
    name = str(settings.get("project", {}).get("name") or root.name or "dev")
    ref, key = await _project(engine, ref, name, kept)
    identity = replace(folder.identity(), project_ref=ref, secret_key=key)
    folder.keep(identity)
    return identity


async def _project(engine: Engine, ref: str | None, name: str, kept: Identity) -> tuple[str, str]:
    """Return a project's ref and a root key of its dev environment."""
    if ref is not None:
        with contextlib.suppress(NotFound):
            environment = await engine.tenancy.environment(ref, "dev")
            return ref, await _root_key(engine, environment.id)
    known = kept.secret_key if ref == kept.project_ref else ""
    made = await engine.tenancy.create_project(
        name[:200], ref=ref, secrets_by_slug={"dev": known} if known else None
    )
    say(f"made the project {made.project.ref}, with a key for this machine", style="dim")
    return made.project.ref, made.keys["dev"]


async def _root_key(engine: Engine, environment_id: str) -> str:
    with contextlib.suppress(EngineError):  # encrypted under a key that this machine has lost
        if keys := await engine.keys.roots(environment_id):
            return keys[0]
    return (await engine.keys.rotate(environment_id)).secret


def _settings(root: Path) -> dict[str, Any]:
    # A broken file is reported by the worker's settings, which name the place.
    try:
        return tomllib.loads((root / "pyproject.toml").read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}
