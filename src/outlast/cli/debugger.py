"""Debugging user code in executors, which have no terminal: `outlast dev --pdb` and `--inspect`.

Run as a module, this is an executor whose `breakpoint()` talks to the terminal of `outlast dev`, or
that a debugger may attach to. Nothing watches its loop: whoever reads variables blocks it.
"""

import os
import sys
from pathlib import Path

from outlast.cli.terminal import Stop

_TERMINAL = "OUTLAST_PDB_TERMINAL"
_PORT = "OUTLAST_INSPECT_PORT"
_PORTS_TRIED = 20


def on_this_terminal() -> dict[str, str]:
    """Return the variables that bring `breakpoint()` to this terminal."""
    if not sys.stdin.isatty():
        raise Stop("--pdb needs a terminal to talk to; without one use --inspect")
    return {_TERMINAL: os.ttyname(sys.stdin.fileno())}


def on_port(port: int) -> dict[str, str]:
    """Return the variables that tell executors where to listen for a debugger."""
    import debugpy  # noqa: F401, T100 - a missing one must be said here and not by every executor

    return {_PORT: str(port)}


def executor_command() -> tuple[str, ...]:
    """Return how to start an executor that can be debugged."""
    return (sys.executable, "-Xfrozen_modules=off", "-m", "outlast.cli.debugger")


def pause(*, header: str | None = None) -> None:
    """Stop in the caller, with a prompt on the terminal of `outlast dev`."""
    import pdb  # noqa: T100 - this is the debugger

    terminal = Path(os.environ[_TERMINAL])
    # Not a `with`: the prompt lives on after this call returns into the user's frame.
    debugger = pdb.Pdb(stdin=terminal.open(), stdout=terminal.open("w"))
    debugger.prompt = f"(pdb {os.getpid()}) "
    if header:
        debugger.message(header)
    debugger.set_trace(sys._getframe(1))  # noqa: SLF001 - as `pdb.set_trace` does


def _listen(first: int) -> None:
    import debugpy  # noqa: T100

    for port in range(first, first + _PORTS_TRIED):
        try:
            debugpy.listen(("127.0.0.1", port))  # noqa: T100
        except (RuntimeError, OSError):
            continue  # another executor is there
        print(f"  Debugger   attach to 127.0.0.1:{port} (executor {os.getpid()})", flush=True)
        return
    print(f"no port from {first} on is free for the debugger", file=sys.stderr)


def _main() -> None:
    from outlast.worker import executor
    from outlast.worker.watchdog import Watchdog

    Watchdog.start = _unwatched  # type: ignore[method-assign, assignment]
    if _TERMINAL in os.environ:
        sys.breakpointhook = pause
    if port := os.environ.get(_PORT):
        _listen(int(port))
    executor.main()


def _unwatched(_: object) -> None:
    """Stand in for the watchdog: whoever reads variables blocks the loop."""


if __name__ == "__main__":
    _main()
