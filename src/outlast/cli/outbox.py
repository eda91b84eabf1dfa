"""`outlast outbox`: the table for triggers in an app's own transactions, and who delivers them."""

import asyncio
from typing import Annotated

import typer

from outlast.cli.connection import ApiUrls, Connection, Key, connection
from outlast.cli.secret import resolve
from outlast.cli.terminal import Stop, say, table

app = typer.Typer(help="Triggers within an app's own transactions.", no_args_is_help=True)

AppDatabase = Annotated[
    str,
    typer.Option(
        "--app-database",
        envvar="OUTLAST_OUTBOX_DATABASE_URL",
        help="The app's database, as env:NAME or file:PATH.",
    ),
]


@app.command("sql")
def sql() -> None:
    """Print what makes the table, for a migration of the app or for psql."""
    from outlast.sdk.outbox import ddl

    print(ddl(), end="")


@app.command("relay")
def relay(app_database: AppDatabase = "", api_url: ApiUrls = None, key: Key = None) -> None:
    """Deliver what committed, as long as it runs; any number of relays may."""
    from outlast.telemetry import logs

    url, found = _url(app_database), connection(api_url, key)
    logs.install("info")
    asyncio.run(_relay(url, found))


@app.command("list")
def list_rows(app_database: AppDatabase = "") -> None:
    """List what is not delivered, the oldest first, and why."""
    from outlast.cli.relay import undelivered

    rows = asyncio.run(undelivered(_url(app_database)))
    if not rows:
        say("everything is delivered")
        return
    lines = [
        (
            str(row.number),
            row.created_at.strftime("%Y-%m-%d %H:%M UTC"),
            str(row.attempts),
            row.error or "",
        )
        for row in rows
    ]
    table(("NUMBER", "SINCE", "ATTEMPTS", "LAST ERROR"), lines)


async def _relay(url: str, found: Connection) -> None:
    from outlast.cli.relay import Relay
    from outlast.cli.signals import stop_signals
    from outlast.client import settings

    settings.configure(settings.make(found.api_urls[0], found.secret_key))
    with stop_signals("stopping after this portion …") as stop:
        say("Waiting for committed triggers")
        await Relay(url).run(stop)


def _url(text: str) -> str:
    if not text:
        raise Stop(
            "name the app's database: --app-database env:NAME, or OUTLAST_OUTBOX_DATABASE_URL"
        )
    return resolve(text, "--app-database")
