"""`outlast dev`: everything on one machine, with reload."""

from pathlib import Path
from typing import Annotated

import typer

from outlast.cli.outbox import AppDatabase
from outlast.cli.secret import resolve
from outlast.cli.terminal import Stop
from outlast.cli.worker import Machines

DEFAULT_PORT = 3030

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="Port to listen on; a taken one moves to the next.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="OUTLAST_DATABASE_URL",
        help="PostgreSQL 15 or newer, as URL, env:NAME or file:PATH; default: one of its own.",
        show_envvar=True,
        show_default=False,
    ),
]
ReplayAlways = Annotated[
    bool, typer.Option("--replay-always", help="Go cold at every wait, to find what cannot replay.")
]
Pdb = Annotated[
    bool, typer.Option("--pdb", help="One executor with the terminal, so that breakpoint() works.")
]
Inspect = Annotated[
    int | None,
    typer.Option(
        metavar="[PORT]", help="Let a debugger attach through debugpy; default port 5678."
    ),
]
Poll = Annotated[
    bool, typer.Option("--poll", help="Look for changes instead of being told; for bind mounts.")
]


def dev(
    host: Host = "127.0.0.1",
    port: Port = DEFAULT_PORT,
    folder: Annotated[Path, typer.Option("--dir", help="The project's folder.")] = Path(),
    database_url: DatabaseUrl = None,
    replay_always: ReplayAlways = False,
    pdb: Pdb = False,
    inspect: Inspect = None,
    poll: Poll = False,
    machines: Machines = "",
    app_database: AppDatabase = "",
) -> None:
    """Start the database, the server and a worker here; reload when the code changes."""
    from outlast.cli.stack import Options, run

    root = folder.resolve()
    if not root.is_dir():
        raise Stop(f"there is no folder {root}; create it, or name another with --dir")
    if pdb and inspect is not None:
        raise Stop("--pdb and --inspect exclude each other: choose one debugger")
    run(
        Options(
            root=root,
            host=host,
            port=port,
            database_url=database_url and resolve(database_url, "--database-url"),
            replay_always=replay_always,
            pdb=pdb,
            inspect=inspect,
            poll=poll,
            machines=machines,
            app_database=app_database and resolve(app_database, "--app-database"),
        )
    )
