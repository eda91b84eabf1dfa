"""Values that must not stand in a command line: `env:NAME` and `file:PATH` say where they are."""

import os
from pathlib import Path

from outlast.cli.terminal import Stop


def resolve(text: str, option: str) -> str:
    """Return what `text` says, or what it points at. `option` names it in errors."""
    kind, _, place = text.partition(":")
    if kind == "env":
        if not (value := os.environ.get(place, "").strip()):
            raise Stop(f"{option} names the variable {place}, which is not set")
        return value
    if kind == "file":
        try:
            return Path(place).expanduser().read_text().strip()
        except OSError as error:
            raise Stop(f"{option} names {place}, which cannot be read: {error.strerror}") from error
    return text
