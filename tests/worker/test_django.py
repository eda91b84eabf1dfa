"""A real Django in real executors: threads and connections of its runs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from remotes import Boot, booting

SETTINGS = """
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db"}}
    INSTALLED_APPS = ["django.contrib.contenttypes"]
"""

TASKS = """
    import threading

    from asgiref.sync import sync_to_async
    from django.contrib.contenttypes.models import ContentType  # only after django.setup()
    from django.db import connection, transaction

    from outlast import task, wait

    both = threading.Barrier(2)
    seen = {}

    def touch() -> None:
        connection.ensure_connection()
        one = connection._connections[connection._alias]
        seen[id(one)] = one

    def still_open() -> int:
        return sum(one.connection is not None for one in seen.values())

    @task("meets")
    async def meets() -> int:
        return await sync_to_async(both.wait)(timeout=60) >= 0

    @task("ends")
    async def ends() -> int:
        await sync_to_async(touch)()
        return still_open()

    @task("looks")
    async def looks() -> int:
        return still_open()

    @task("waits")
    async def waits() -> list[int]:
        await sync_to_async(touch)()
        before = still_open()
        await wait.for_(days=1)
        return [before, still_open()]

    @task("waits-sync")
    def waits_sync() -> list[int]:
        touch()
        before = still_open()
        wait.for_sync(days=1)
        after = still_open()
        with transaction.atomic():
            touch()
            wait.for_sync(days=1)
            return [before, after, still_open()]
"""


@pytest.fixture
async def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Boot]:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop_settings")
    modules = {"shop.py": TASKS, "../shop_settings.py": SETTINGS}
    async with booting(tmp_path, modules) as start:
        yield start


async def test_runs_do_not_queue_for_one_thread_of_the_orm(boot: Boot) -> None:
    """Each waits in its thread for the other, so with one thread both would wait for ever."""
    server = boot("shared")
    server.claim("meets", run="run_1")
    server.claim("meets", run="run_2")
    assert [await server.end("run_1"), await server.end("run_2")] == [True, True]


async def test_a_run_that_ends_leaves_no_connection_open(boot: Boot) -> None:
    server = boot("shared")
    server.claim("ends", run="run_1")
    assert await server.end("run_1") == 1
    server.claim("looks", run="run_2")
    assert await server.end("run_2") == 0


async def test_a_wait_holds_no_connection(boot: Boot) -> None:
    server = boot("shared")
    server.claim("waits")
    (key,) = await server.suspended()
    server.finish(key, None)
    assert await server.end() == [1, 0]


async def test_a_def_task_holds_a_connection_while_it_waits_only_in_a_transaction(
    boot: Boot,
) -> None:
    server = boot("dedicated")
    server.claim("waits-sync")
    for _ in range(2):
        (key,) = await server.suspended()
        server.finish(key, None)
    assert await server.end() == [1, 0, 1]
