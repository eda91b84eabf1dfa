"""The embedded server starts anywhere, outlives its owner and touches nothing of the user's."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from outlast.engine.binaries import Binaries, find_binaries, wheel_binaries
from outlast.engine.embedded import EmbeddedServer, embedded
from outlast.engine.errors import Unavailable
from outlast.engine.private_files import try_lock

pytestmark = [pytest.mark.processes, pytest.mark.timeout(90)]

_OWNER = """
import asyncio, sys
from pathlib import Path
from outlast.engine.embedded import EmbeddedServer

async def main():
    url = await EmbeddedServer(Path(sys.argv[1])).start()
    print(url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "My Projects" / ".outlast"
    yield root
    shutil.rmtree(EmbeddedServer(root).home, ignore_errors=True)


async def query(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def modes(path: Path) -> dict[Path, tuple[int, int]]:
    found = (path, *path.parents)
    return {each: (stat.S_IMODE(each.stat().st_mode), each.stat().st_uid) for each in found}


async def kill_owner_of(root: Path) -> str:
    """Start the server from another process, kill that with SIGKILL, return the server's URL."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OWNER, str(root), stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    url = (await asyncio.wait_for(owner.stdout.readline(), 60)).decode().strip()
    owner.send_signal(signal.SIGKILL)
    await owner.wait()
    return url


async def test_it_starts_below_a_path_with_a_space_and_keeps_its_data(project: Path) -> None:
    async with embedded(project) as url:
        await query(url, "create table kept as select 42 as answer")

    async with embedded(project) as url:
        assert await query(url, "select answer from kept") == 42
        assert await query(url, "show fsync") == "on"
        assert await query(url, "show listen_addresses") == ""


async def test_it_starts_below_a_path_of_more_than_200_characters(tmp_path: Path) -> None:
    root = tmp_path / ("d" * 120) / ("e" * 120) / ".outlast"
    server = EmbeddedServer(root)
    try:
        url = await server.start()

        assert await query(url, "select 1") == 1
    finally:
        await server.stop()
        shutil.rmtree(server.home)


async def test_the_wheel_works_where_the_path_offers_another(project: Path) -> None:
    wheel = wheel_binaries()
    assert wheel is not None, "the development dependencies bring the wheel"
    server = EmbeddedServer(project, binaries=wheel)

    url = await server.start()
    try:
        version = await query(url, "show server_version_num")
        collation = await query(url, "select datcollate from pg_database limit 1")
    finally:
        await server.stop()

    assert str(version).startswith(str(wheel.major))
    assert collation == "C"
    assert server.data.name == f"pg{wheel.major}"


async def test_nothing_of_the_users_changes_its_permissions(project: Path) -> None:
    project.parent.mkdir()
    project.parent.chmod(0o700)
    before = modes(project.parent) | modes(Path(sys.prefix))

    async with embedded(project):
        pass

    assert modes(project.parent) | modes(Path(sys.prefix)) == before


async def test_what_it_writes_is_private(project: Path) -> None:
    server = EmbeddedServer(project)
    await server.start()
    try:
        folder = server._socket_folder()
        assert folder is not None
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
        for name in ("password", "log", "owner", "alive", "socket"):
            assert stat.S_IMODE(server._file(name).stat().st_mode) == 0o600
    finally:
        await server.stop()

    assert not folder.exists()


async def test_a_connection_needs_the_password(project: Path) -> None:
    async with embedded(project) as url:
        password = url.split(":")[2].split("@")[0]

        with pytest.raises(asyncpg.InvalidPasswordError):
            await query(url.replace(password, "guess"), "select 1")


async def test_a_server_left_by_a_killed_owner_is_adopted_and_stopped(project: Path) -> None:
    left = await kill_owner_of(project)
    started = await query(left, "select pg_postmaster_start_time()")

    server = EmbeddedServer(project)
    url = await server.start()

    assert server.is_owner
    assert await query(url, "select pg_postmaster_start_time()") == started
    await server.stop()
    alive = try_lock(server._file("alive"))
    assert alive is not None
    os.close(alive)


async def test_it_starts_again_after_everything_was_killed(project: Path) -> None:
    await kill_owner_of(project)
    server = EmbeddedServer(project)
    pid = server._written_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    url = await server.start()

    assert await query(url, "select 1") == 1
    await server.stop()


async def test_a_reused_process_id_does_not_stop_the_start(project: Path) -> None:
    server = EmbeddedServer(project)
    await server.start()
    text = (server.data / "postmaster.pid").read_text()
    await server.stop()
    (server.data / "postmaster.pid").write_text(
        text.replace(text.split("\n")[0], str(os.getppid()))
    )

    url = await server.start()

    assert await query(url, "select 1") == 1
    await server.stop()


async def test_a_second_process_shares_the_server_and_leaves_it_running(project: Path) -> None:
    first, second = EmbeddedServer(project), EmbeddedServer(project)
    url = await first.start()

    assert await second.start() == url
    assert not second.is_owner
    await second.stop()

    assert await query(url, "select 1") == 1
    await first.stop()


async def test_a_start_that_cannot_succeed_says_why_and_lets_go(project: Path) -> None:
    server = EmbeddedServer(project)
    await server.start()
    await server.stop()
    (server.data / "postgresql.auto.conf").write_text("no_such_setting = 1\n")

    with pytest.raises(Unavailable, match="no_such_setting"):
        await server.start()

    assert not server.is_owner


def test_old_programs_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Binaries(Path("/old"), 14, "14.1", wheel=True)
    new = Binaries(Path("/new"), 18, "18.1", wheel=True)
    monkeypatch.setattr("outlast.engine.binaries._candidates", lambda: iter([old, new]))

    assert find_binaries() == new


def test_no_programs_name_the_three_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlast.engine.binaries._candidates", lambda: iter(()))

    with pytest.raises(Unavailable, match=r"OUTLAST_DATABASE_URL.*path.*pip install"):
        find_binaries()
