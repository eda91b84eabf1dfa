"""Django in an executor, which lives longer than a request and would keep connections too long.

Nothing here imports Django: a project that does not use it pays nothing.
"""

import logging
import sys
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")

logger = logging.getLogger("outlast.worker")


def is_used() -> bool:
    """Say whether the project has set Django up, with databases."""
    conf = sys.modules.get("django.conf")
    return conf is not None and conf.settings.configured and "django.db" in sys.modules


def close_old_connections() -> None:
    """Close this thread's connections that are too old or broken, where a project uses Django."""
    if is_used():
        try:
            sys.modules["django.db"].close_old_connections()
        except Exception:  # the run that ended, or that begins, is not to blame for the last one's
            logger.exception("old connections of Django could not be closed")


async def in_own_thread(work: Awaitable[T]) -> T:
    """Await the code of a run whose `sync_to_async` has a thread, and connections, of its own.

    Else those of all runs would queue for one thread. The thread ends with the run, so its
    connections are closed, however old they are.
    """
    context: Any = sys.modules["asgiref.sync"].ThreadSensitiveContext()
    await context.__aenter__()
    # No `async with`: code that is dropped where it waits must not wait again.
    done = await work
    await close_connections()
    await context.__aexit__(None, None, None)
    return done


async def close_connections() -> None:
    """Close the connections of this run's thread that are in no transaction."""
    await sys.modules["asgiref.sync"].sync_to_async(_close_idle)()


def _close_idle() -> None:
    try:
        for connection in sys.modules["django.db"].connections.all(initialized_only=True):
            if not connection.in_atomic_block:
                connection.close()
    except Exception:
        logger.exception("connections of Django could not be closed")
