"""The event loop of our long-running processes, and their garbage collector's pace."""

import asyncio
import gc

_YOUNG = 20_000
_MIDDLE = 20
_OLD = 50


def new_runner() -> asyncio.Runner:
    """Return a runner whose loop is uvloop's, where that is installed."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def collect_rarely() -> None:
    """Let the collector look less often, and never again at what is here now.

    A busy process makes and drops many objects, few of them in cycles: with the usual thresholds a
    tenth of its time goes into looking for those. Call it once everything is imported and open.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
