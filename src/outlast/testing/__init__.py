"""Testing tasks: a whole platform in the test's process, on a clock that the test moves.

What is named here is imported when it is used: pytest loads the plugin beside it every time.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outlast.testing.blocking import SyncPlatform
    from outlast.testing.journals import Journal
    from outlast.testing.platform import NeverEndsError, Platform
    from outlast.testing.replaying import ReplayDifference, Replayed, replay
    from outlast.testing.stillness import NeverStillError

__all__ = [
    "Journal",
    "NeverEndsError",
    "NeverStillError",
    "Platform",
    "ReplayDifference",
    "Replayed",
    "SyncPlatform",
    "replay",
]

_HOMES = {
    "Journal": "journals",
    "NeverEndsError": "platform",
    "NeverStillError": "stillness",
    "Platform": "platform",
    "ReplayDifference": "replaying",
    "Replayed": "replaying",
    "SyncPlatform": "blocking",
    "replay": "replaying",
}


def __getattr__(name: str) -> object:
    """Import what is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"outlast.testing has no {name}; it has {', '.join(__all__)}")
    return getattr(import_module(f"outlast.testing.{_HOMES[name]}"), name)
