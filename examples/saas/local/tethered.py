"""`python -m local.tethered worker …`: the `outlast` command, for as long as its parent lives.

Standard input is the tether: a pipe that only the parent holds. Its end tells of the parent's end
on every system, and also of one by `kill -9`, after which nobody else could stop us.
"""

import os
import runpy
import signal
import sys
import threading


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, name="tether", daemon=True).start()
    runpy.run_module("outlast", run_name="__main__", alter_sys=True)
