"""`outlast keys`: make and rotate the keys of an environment; each is shown once."""

import asyncio
from typing import Annotated

import typer

from outlast.cli.projects import DatabaseUrl
from outlast.cli.terminal import minute, say, table, warn

app = typer.Typer(help="Make, list and rotate keys.", no_args_is_help=True)

ProjectRef = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's ref, proj_….")]
Slug = Annotated[str, typer.Option("--env", help="dev, stg or prod.")]
Name = Annotated[str, typer.Option(help="What the key is for; shown in lists.")]
Grace = Annotated[float, typer.Option(min=0, help="Hours that the old key goes on working.")]
Days = Annotated[float | None, typer.Option(min=0, help="Days until it ends; else never.")]
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, key_….")]
PerMinute = Annotated[int, typer.Argument(min=0, help="Requests; 0 leaves it to the server.")]
Burst = Annotated[int | None, typer.Option(min=1, help="Requests at once after a pause.")]


@app.command("create")
def create(
    project: ProjectRef,
    env: Slug = "dev",
    name: Name = "",
    days: Days = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Make an additional key. It triggers and reads; it cannot sign tokens."""
    asyncio.run(_create(project, env, name, days, database_url))


@app.command("revoke")
def revoke(
    project: ProjectRef, key: KeyId, env: Slug = "dev", database_url: DatabaseUrl = None
) -> None:
    """Delete an additional key; it stops working at once."""
    asyncio.run(_revoke(project, env, key, database_url))


@app.command("limit")
def limit(
    project: ProjectRef,
    per_minute: PerMinute,
    env: Slug = "dev",
    burst: Burst = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Limit the requests of each key of an environment."""
    asyncio.run(_limit(project, env, per_minute, burst, database_url))


@app.command("rotate")
def rotate(
    project: ProjectRef, env: Slug = "dev", grace: Grace = 24.0, database_url: DatabaseUrl = None
) -> None:
    """Replace the root key; the old one goes on working for a while."""
    asyncio.run(_rotate(project, env, grace, database_url))


@app.command("list")
def list_keys(project: ProjectRef, env: Slug = "dev", database_url: DatabaseUrl = None) -> None:
    """List the keys that work now, without their secrets."""
    asyncio.run(_list(project, env, database_url))


async def _create(
    project: str, env: str, name: str, days: float | None, database_url: str | None
) -> None:
    from outlast.cli.tenants import tenants

    async with tenants(database_url) as (tenancy, keys, _):
        environment = await tenancy.environment(project, env)
        seconds = None if days is None else days * 86400
        made = await keys.create(environment.id, name, seconds=seconds)
    say(made.secret)
    warn("the key is shown only now; keep it where secrets live")


async def _revoke(project: str, env: str, key: str, database_url: str | None) -> None:
    from outlast.cli.tenants import tenants

    async with tenants(database_url) as (tenancy, keys, _):
        environment = await tenancy.environment(project, env)
        await keys.revoke(environment.id, key)
    say(f"{key} is revoked")


async def _limit(
    project: str, env: str, per_minute: int, burst: int | None, database_url: str | None
) -> None:
    from outlast.cli.tenants import tenants

    async with tenants(database_url) as (tenancy, _, _):
        environment = await tenancy.environment(project, env)
        await tenancy.limit_rate(environment.id, per_minute or None, burst)
    say(f"{per_minute} requests a minute" if per_minute else "the limit of the server counts")


async def _rotate(project: str, env: str, grace: float, database_url: str | None) -> None:
    from outlast.cli.tenants import tenants

    async with tenants(database_url) as (tenancy, keys, _):
        environment = await tenancy.environment(project, env)
        made = await keys.rotate(environment.id, grace=grace * 3600)
    say(made.secret)
    warn(f"the key is shown only now; the old one works for another {grace:g} h")


async def _list(project: str, env: str, database_url: str | None) -> None:
    from outlast.cli.tenants import tenants

    async with tenants(database_url) as (tenancy, keys, _):
        environment = await tenancy.environment(project, env)
        found = await keys.list(environment.id)
    rows = [
        (
            one.id,
            one.kind,
            one.name or "-",
            minute(one.created_at),
            minute(one.expires_at),
            minute(one.last_used_at),
        )
        for one in found
    ]
    table(("ID", "KIND", "NAME", "CREATED", "EXPIRES", "LAST USED"), rows)
