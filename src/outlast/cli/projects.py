"""`outlast projects`: make and list the tenants of a database."""

import asyncio
from typing import Annotated

import typer

from outlast.cli.terminal import minute, say, table, warn

app = typer.Typer(help="Make and list projects.", no_args_is_help=True)

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="OUTLAST_DATABASE_URL",
        help="A URL, env:NAME or file:PATH; default: the database of outlast dev in this folder.",
        show_default=False,
    ),
]
Name = Annotated[str, typer.Argument(help="What people call the project.")]
Ref = Annotated[str | None, typer.Option(help="What code calls it, proj_…; default: a new one.")]


@app.command("create")
def create(name: Name, ref: Ref = None, database_url: DatabaseUrl = None) -> None:
    """Make a project with its environments, and show a key for each, once."""
    asyncio.run(_create(name, ref, database_url))


@app.command("list")
def list_projects(database_url: DatabaseUrl = None) -> None:
    """List the projects, the oldest first."""
    asyncio.run(_list(database_url))


async def _create(name: str, ref: str | None, database_url: str | None) -> None:
    from outlast.cli.tenants import tenants

    async with tenants(database_url) as (tenancy, _, _):
        made = await tenancy.create_project(name, ref=ref)
    say(f"project {made.project.ref}  {made.project.name}", style="bold")
    for environment in made.environments:
        say(f"  {environment.slug:<8}{made.keys[environment.slug]}")
    warn("keys are shown only now; keep them where secrets live")


async def _list(database_url: str | None) -> None:
    from outlast.cli.tenants import tenants

    async with tenants(database_url) as (tenancy, _, _):
        found = await tenancy.projects()
    rows = [(one.ref, one.name, minute(one.created_at)) for one in found]
    table(("REF", "NAME", "CREATED"), rows)
