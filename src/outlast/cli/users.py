"""`outlast users`: who may open the dashboard of a server."""

import asyncio
from typing import Annotated

import typer

from outlast.cli import personal_tokens
from outlast.cli.projects import DatabaseUrl
from outlast.cli.terminal import minute, say, table, warn
from outlast.protocol.roles import Role

app = typer.Typer(help="Make, list and remove the accounts of the dashboard.", no_args_is_help=True)
app.add_typer(personal_tokens.app, name="token")

Name = Annotated[str, typer.Argument(help="The name to log in with.")]
RoleOption = Annotated[
    Role, typer.Option("--role", help="viewer looks, operator acts on runs, admin keeps keys too.")
]
NewRole = Annotated[Role | None, typer.Option("--role", help="The role from now on.")]
NewPassword = Annotated[bool, typer.Option("--password", help="Ask for a new password.")]
ByLink = Annotated[
    bool, typer.Option("--link", help="Ask for no password; print a link that logs in once.")
]
Url = Annotated[str, typer.Option(envvar="OUTLAST_API_URL", help="Where the dashboard is.")]
_HERE = "http://127.0.0.1:8710"


@app.command("add")
def add(
    name: Name,
    role: RoleOption = Role.OPERATOR,
    by_link: ByLink = False,
    url: Url = _HERE,
    database_url: DatabaseUrl = None,
) -> None:
    """Make an account; asks for its password."""
    password = None if by_link else _ask()
    asyncio.run(_add(name, role, password, url, database_url))


@app.command("list")
def list_users(database_url: DatabaseUrl = None) -> None:
    """List the accounts."""
    asyncio.run(_list(database_url))


@app.command("change")
def change(
    name: Name,
    role: NewRole = None,
    password: NewPassword = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Change a role, or a password, which logs the account out everywhere."""
    asyncio.run(_change(name, role, _ask() if password else None, database_url))


@app.command("link")
def link(name: Name, url: Url = _HERE, database_url: DatabaseUrl = None) -> None:
    """Print a link that logs an account in once, within fifteen minutes."""
    asyncio.run(_link(name, url, database_url))


@app.command("remove")
def remove(name: Name, database_url: DatabaseUrl = None) -> None:
    """Delete an account; what it did stays in the audit log."""
    asyncio.run(_remove(name, database_url))


def _ask() -> str:
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password


async def _add(
    name: str, role: Role, password: str | None, url: str, database_url: str | None
) -> None:
    from outlast.cli.tenants import tenants

    async with tenants(database_url) as (_, _, users):
        made = await users.add(name, role, password)
        say(f"{made.name} is {made.role.value}")
        if password is None:
            _show(url, await users.make_link(name))


async def _list(database_url: str | None) -> None:
    from outlast.cli.tenants import tenants

    async with tenants(database_url) as (_, _, users):
        found = await users.accounts()
    rows = [(one.name, one.role.value, minute(one.created_at)) for one in found]
    table(("NAME", "ROLE", "CREATED"), rows)


async def _change(
    name: str, role: Role | None, password: str | None, database_url: str | None
) -> None:
    from outlast.cli.tenants import tenants

    async with tenants(database_url) as (_, _, users):
        changed = await users.change(name, role=role, password=password)
    say(f"{changed.name} is {changed.role.value}")


async def _link(name: str, url: str, database_url: str | None) -> None:
    from outlast.cli.tenants import tenants

    async with tenants(database_url) as (_, _, users):
        _show(url, await users.make_link(name))


async def _remove(name: str, database_url: str | None) -> None:
    from outlast.cli.tenants import tenants

    async with tenants(database_url) as (_, _, users):
        await users.remove(name)
    say(f"{name} is removed")


def _show(url: str, code: str) -> None:
    say(f"{url.rstrip('/')}/login/{code}")
    warn("the link works once, for fifteen minutes")
