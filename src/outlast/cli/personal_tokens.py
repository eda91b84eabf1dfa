"""`outlast users token`: personal tokens, for terminals and pipelines of people."""

import asyncio
from typing import Annotated

import typer

from outlast.cli.projects import DatabaseUrl
from outlast.cli.terminal import minute, say, table, warn

app = typer.Typer(help="Make, list and revoke personal tokens.", no_args_is_help=True)

Account = Annotated[str, typer.Argument(metavar="NAME", help="Whose token: the account's name.")]
Purpose = Annotated[str, typer.Option("--name", help="What it is for; shown in lists.")]
Days = Annotated[float | None, typer.Option(min=0, help="Days until it ends; else never.")]
TokenId = Annotated[str, typer.Argument(metavar="TOKEN", help="The token's id, pat_….")]


@app.command("create")
def create(
    account: Account, name: Purpose = "", days: Days = None, database_url: DatabaseUrl = None
) -> None:
    """Make a token. It reaches every project, as far as the account's role goes."""
    asyncio.run(_create(account, name, days, database_url))


@app.command("list")
def list_tokens(account: Account, database_url: DatabaseUrl = None) -> None:
    """List the tokens that work now, without their secrets."""
    asyncio.run(_list(account, database_url))


@app.command("revoke")
def revoke(account: Account, token: TokenId, database_url: DatabaseUrl = None) -> None:
    """Delete a token; it stops working at once."""
    asyncio.run(_revoke(account, token, database_url))


async def _create(account: str, name: str, days: float | None, database_url: str | None) -> None:
    from outlast.cli.tenants import tenants

    async with tenants(database_url) as (_, _, users):
        seconds = None if days is None else days * 86400
        made = await users.tokens.create(account, name, seconds=seconds)
    say(made.secret)
    warn("the token is shown only now; commands take it with --key env:TRIGGER_ACCESS_TOKEN")


async def _list(account: str, database_url: str | None) -> None:
    from outlast.cli.tenants import tenants

    async with tenants(database_url) as (_, _, users):
        await users.find(account)
        found = await users.tokens.list(account)
    rows = [
        (
            one.id,
            one.name or "-",
            minute(one.created_at),
            minute(one.expires_at),
            minute(one.last_used_at),
        )
        for one in found
    ]
    table(("ID", "NAME", "CREATED", "EXPIRES", "LAST USED"), rows)


async def _revoke(account: str, token: str, database_url: str | None) -> None:
    from outlast.cli.tenants import tenants

    async with tenants(database_url) as (_, _, users):
        await users.tokens.revoke(account, token)
    say(f"{token} is revoked")
