"""CPU seconds of every process that a workload keeps busy, by what the process is.

Throughput on a shared machine says little; what a run costs each process says where the time goes.
"""

import contextlib
import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")

Costs = dict[str, float]


def spent(servers: list[int], worker: int, backends: list[int]) -> Costs:
    """Return the CPU seconds that each kind of process has taken; this one is the client."""
    return {
        "server": taken(servers),
        "supervisor": _own(worker),
        "executors": sum(map(_own, _below(worker))) + _ended(worker),
        "client": _own(os.getpid()),
        "postgresql": taken(backends),
    }


def per_item(before: Costs, after: Costs, items: int) -> str:
    """Return microseconds of CPU that each item cost, by kind of process."""
    return "  ".join(f"{role} {(after[role] - before[role]) / items * 1e6:,.0f}" for role in after)


def taken(pids: list[int]) -> float:
    """Return the CPU seconds that processes have taken."""
    return sum(map(_own, pids))


def resident(pid: int) -> int:
    """Return the resident bytes of everything below a process."""
    pages = (int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in _below(pid))
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def _below(pid: int) -> list[int]:
    children: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        children += map(int, listed.read_text().split())
    return children + [each for child in children for each in _below(child)]


def _own(pid: int) -> float:
    return sum(map(int, _fields(pid)[11:13])) / _TICK


def _ended(pid: int) -> float:
    """Return what children took that have ended."""
    return sum(map(int, _fields(pid)[13:15])) / _TICK


def _fields(pid: int) -> list[str]:
    """Return what `/proc/<pid>/stat` says behind the name; nothing of a process that is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return ["0"] * 15
