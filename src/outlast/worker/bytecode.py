"""Bytecode of sources that were just changed is not stored.

Python takes a `.pyc` for current when the whole second and the size of its source are the ones it
was made from: of two changes within a second, the second could be taken for the first.
"""

import sys
import time
from collections.abc import Callable
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path

_SETTLED = 2.0
"""Seconds after which no change can share the second of the last one, also on coarse clocks."""


class _Loader(SourceFileLoader):
    def set_data(self, path: str, data: bytes, *, _mode: int = 0o666) -> None:  # type: ignore[override]
        if time.time() - Path(self.path).stat().st_mtime > _SETTLED:
            super().set_data(path, data, _mode=_mode)


def distrust_young(root: Path) -> None:
    """Let modules below `root` be imported with bytecode of settled sources only."""
    make = FileFinder.path_hook(
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (_Loader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )

    def hook(entry: str) -> object:
        if not Path(entry).resolve().is_relative_to(root):
            raise ImportError(entry, path=entry)
        return make(entry)

    hooks: list[Callable[[str], object]] = sys.path_hooks  # type: ignore[assignment]
    hooks.insert(0, hook)
    for entry in list(sys.path_importer_cache):
        if Path(entry).resolve().is_relative_to(root):
            del sys.path_importer_cache[entry]
