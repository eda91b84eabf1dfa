"""Executor processes end with everything they started, and are read to the last word."""

import subprocess
import sys
import textwrap

import pytest

from outlast.worker.processes import describe_exit


@pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper")
def test_orphans_are_reaped_and_own_children_are_not() -> None:
    """As process 1 of a container the supervisor inherits what executors leave behind."""
    script = """
    import ctypes, os, subprocess, time
    from outlast.worker.processes import reap_orphans

    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: orphans come to us
    executor = subprocess.Popen(["sh", "-c", "sleep 0.1 & exit 0"], start_new_session=True)
    executor.wait()
    deadline = time.monotonic() + 10
    try:
        while time.monotonic() < deadline:
            reap_orphans()
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        print("reaped")
    child = subprocess.Popen(["sh", "-c", "exit 3"], start_new_session=True)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    reap_orphans()
    print(child.wait())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.stdout.split() == ["reaped", "3"]


def test_an_end_is_said_in_words() -> None:
    assert describe_exit(3) == "exit code 3"
    assert describe_exit(-11) == "SIGSEGV"
    assert "memory" in describe_exit(-9)
    assert describe_exit(-200) == "signal 200"
