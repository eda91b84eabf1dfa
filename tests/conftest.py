"""Fixtures for every test: a PostgreSQL per session, a fresh database per test."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from outlast.engine.database import Database, DatabaseSettings
from outlast.testing import databases

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode does not, and tests share helpers

from postgres import in_own_loop, migrated_template, running_postgres
from recycling import Databases

# How long a busy machine takes says nothing about what a property holds for.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what starts processes: it takes longest, and nobody is to wait for it alone."""
    items.sort(key=lambda item: item.get_closest_marker("processes") is None)


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """Return the URL of a PostgreSQL server; its own database is nobody's."""
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def databases_of_testing(database_url: str) -> Iterator[str]:
    """Return the server that `outlast.testing` uses; its databases go before the server does."""
    yield database_url
    databases.close()


@pytest.fixture
def testing_server(databases_of_testing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `outlast.testing` use the PostgreSQL of the other tests."""
    monkeypatch.setitem(os.environ, databases.VARIABLES[0], databases_of_testing)


@pytest.fixture(scope="session")
def database_template(database_url: str) -> Iterator[str]:
    """Return the name of a migrated, empty database."""
    with migrated_template(database_url) as name:
        yield name


@pytest.fixture(scope="session")
def migrated(database_url: str, database_template: str) -> Iterator[Databases]:
    """Return the databases that tests take one after another."""
    made = Databases(database_url, database_template)
    yield made
    in_own_loop(made.close())


@pytest.fixture
async def fresh_url(migrated: Databases) -> AsyncIterator[str]:
    """Return the URL of a migrated database of this test alone."""
    async with migrated.one() as url:
        yield url


@pytest.fixture
async def database(fresh_url: str) -> AsyncIterator[Database]:
    """Return a migrated database of this test alone."""
    settings = DatabaseSettings(url=fresh_url, pool_size=8)
    async with await Database.open(settings) as database:
        yield database
