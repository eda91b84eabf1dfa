"""Memory limits that the kernel keeps, over a folder that is made like one of cgroup v2."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from fake_server import FakeServer, claim
from outlast.protocol.frames import Kind
from outlast.protocol.messages import Crash
from outlast.protocol.outcomes import RunError
from outlast.worker import cgroups
from outlast.worker.cgroups import Group, Groups
from outlast.worker.findings import Findings
from worker_rig import Rig, manifest

FILES = ("cgroup.procs", "cgroup.subtree_control", "memory.max", "memory.oom.group")
"""What the kernel puts into every group; `memory.events` comes with the first event here."""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of a group which this process is in, and whose new folders have files."""
    folder = tmp_path / "cgroup" / "a.slice"
    fill(folder)
    (folder / "cgroup.controllers").write_text("cpu memory pids\n")
    make = Path.mkdir

    def mkdir(path: Path, *, exist_ok: bool = False) -> None:
        make(path, exist_ok=exist_ok)
        if folder in path.parents:
            fill(path)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    return folder


def fill(folder: Path) -> None:
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - `Path.mkdir` is the kernel's here
    for name in FILES:
        (folder / name).touch()


def find(own: Path) -> Groups | None:
    membership = own.parent / "membership"
    membership.write_text("1:name=systemd:/x\n0::/a.slice\n")
    return Groups.find(own.parent, membership=membership)


def read(group: Path, name: str) -> str:
    return (group / name).read_text()


def executors(own: Path) -> list[Path]:
    return sorted(own.glob("outlast-executor-*"))


def test_a_supervisor_moves_aside_so_that_its_children_may_have_limits(own: Path) -> None:
    assert find(own) is not None

    (aside,) = own.glob("outlast-supervisor-*")
    assert read(aside, "cgroup.procs") == str(os.getpid())
    assert read(own, "cgroup.subtree_control") == "+memory"


@pytest.mark.parametrize(
    "lack", ["memory", "membership", "subtree_control", "cgroup.procs", "folder"]
)
def test_without_a_group_to_write_nothing_is_found_and_nothing_is_left(
    own: Path, monkeypatch: pytest.MonkeyPatch, lack: str
) -> None:
    refused = cgroups._write

    def write(file: Path, text: str) -> bool:
        return lack not in str(file) and refused(file, text)

    monkeypatch.setattr(cgroups, "_write", write)
    monkeypatch.setattr(cgroups, "_remove", rmdir)
    if lack == "memory":
        (own / "cgroup.controllers").write_text("cpu pids\n")
    if lack == "membership":
        assert Groups.find(own.parent, membership=own / "no file") is None
    elif lack == "folder":
        monkeypatch.setattr(Path, "mkdir", refuse)
        assert find(own) is None
    else:
        assert find(own) is None
    assert list(own.glob("outlast-*")) == []
    if lack == "subtree_control":  # another process stood in the way: we moved back
        assert read(own, "cgroup.procs") == str(os.getpid())


def refuse(*_: object, **__: object) -> None:
    raise PermissionError("not yours")


def rmdir(folder: Path) -> None:
    """Remove a folder with the files that the kernel would not count."""
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def test_an_executor_gets_a_group_that_ends_as_one_and_the_limit_of_each_run(own: Path) -> None:
    groups = find(own)
    assert groups is not None
    group = groups.enclose(4242)
    assert group is not None
    (folder,) = executors(own)
    assert (read(folder, "cgroup.procs"), read(folder, "memory.oom.group")) == ("4242", "1")

    assert group.limit(256)
    assert read(folder, "memory.max") == "256"
    (folder / "memory.max").write_text("")
    assert group.limit(None)
    assert read(folder, "memory.max") == "max"
    (folder / "memory.max").unlink()
    assert not group.limit(512)


def test_what_a_killed_supervisor_left_is_removed(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "_remove", rmdir)
    for name, members in (("outlast-executor-1-1", ""), ("outlast-executor-1-2", "77\n")):
        fill(own / name)
        (own / name / "cgroup.procs").write_text(members)

    assert find(own) is not None

    assert [each.name for each in executors(own)] == ["outlast-executor-1-2"]


@pytest.mark.parametrize(
    ("events", "ran_out"),
    [(None, False), ("oom 3\noom_kill 0\n", False), ("oom 1\noom_kill 2\n", True)],
)
def test_the_kernel_says_whether_memory_ran_out(
    tmp_path: Path, events: str | None, ran_out: bool
) -> None:
    if events is not None:
        (tmp_path / "memory.events").write_text(events)
    assert Group(tmp_path).ran_out() is ran_out


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as server:
        yield server


@pytest.mark.parametrize(
    ("machine", "events", "kind", "error", "said"),
    [
        ("micro", "oom_kill 1\n", "out_of_memory", "OutOfMemory", "256 MB of machine micro"),
        (None, "oom_kill 1\n", "out_of_memory", "OutOfMemory", "the system was out of memory"),
        (None, "oom_kill 0\n", "out_of_memory", "OutOfMemorySuspected", "not ours"),
    ],
)
async def test_a_process_that_the_kernel_ended_is_out_of_memory_and_no_crash(
    server: FakeServer,
    own: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    machine: str | None,
    events: str,
    kind: str,
    error: str,
    said: str,
) -> None:
    groups = find(own)
    monkeypatch.setattr(Groups, "find", lambda *_: groups)
    rig = Rig(server, tmp_path, processes=1, cgroups=own)
    rig.findings = Findings(manifest(dedicated=True))
    async with rig.running():
        await server.push(claim("run_1", "hang", executor="dedicated", machine=machine))
        pid = (await rig.noted("CLAIM", "run_1"))["pid"]
        (folder,) = (each for each in executors(own) if read(each, "cgroup.procs") == str(pid))
        limit = read(folder, "memory.max")
        (folder / "memory.events").write_text(f"oom 1\n{events}")
        os.kill(pid, signal.SIGKILL)
        crash = msgspec.msgpack.decode((await server.heard(Kind.CRASH)).body, type=Crash)

    assert limit == ("268435456" if machine else "")
    assert crash.guilty == "run_1"
    assert isinstance(crash.error, RunError)
    assert (crash.error.kind, crash.error.type) == (kind, error)
    assert said in crash.error.message
