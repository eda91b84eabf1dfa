"""Everything brought up on one machine, and nothing left behind: for the demo and `make dev`."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress

from outlast.cli.folder import Address, Folder
from outlast.engine.embedded import embedded

from app.settings import ROOT
from local.mailbox import Mailbox
from local.payments import Weather
from local.reload import followed
from local.show import Show
from local.stack import Databases, Stack
from scripts.seed import PASSWORD, email_of, organization, seed

FOLDER = ROOT / ".outlast"
USER = "user_ada"
ORGANIZATION = organization("org_acme")
PORT, PLATFORM_PORT = 3000, 3030
"""Where the app and the platform are, unless something else is there."""
BAD_DAYS = Weather(requests_per_second=50, every_nth_fails=20)


@asynccontextmanager
async def brought_up(
    show: Show,
    *,
    ports: tuple[int, int] = (PORT, PLATFORM_PORT),
    rows: int | None = None,
    page_pause: float = 0.0,
) -> AsyncIterator[Stack]:
    """Give everything with one worker and the sample data, and end it with the block.

    `rows` gives `org_acme` that many invoices; `page_pause` slows every page down, in seconds.
    """
    mailbox = Mailbox(FOLDER / "mail")
    async with AsyncExitStack() as onward:
        folder = onward.enter_context(_alone())
        show.title("Starting")
        with show.working("PostgreSQL"):
            server_url = await onward.enter_async_context(_postgres())
        databases = Databases(server_url, platform="outlast_saas", app="saas")
        with show.working("schema and seed"):
            await databases.create()
            await seed(databases.owner_url, rows=rows)
            mailbox.empty()
        with show.working("server, app, mailbox, payment provider and worker"):
            stack = Stack(databases, FOLDER, mailbox, page_pause=page_pause)
            stack.payments.weather = BAD_DAYS
            await onward.enter_async_context(stack.running(*ports))
            onward.enter_context(_announced(folder, stack))
            await stack.start_worker()
        yield stack


async def stay(show: Show, stack: Stack) -> None:
    """Leave everything running until Ctrl-C, which is a good end here."""
    show.title("Running until Ctrl-C")
    show.line(f"inspector  {stack.app_url}", "bold")
    show.line(f"           sign in as {email_of(USER)} with “{PASSWORD}”")
    show.line(f"dashboard  {stack.app_url}/debug/dashboard", "bold")
    show.line(f"           logs you in at {stack.api_url}")
    show.line(f"mailbox    {stack.app_url}/debug/mails", "bold")
    show.line(f"           {stack.smtp_url} delivers to {stack.mailbox.folder}")
    show.line(f"provider   {stack.vendors_url}/payments", "bold")
    show.line("           plays a payment provider that has bad days")
    show.line(f"exports    {FOLDER / 'exports'}")
    show.line(f"logs       {FOLDER / 'logs'}")
    show.line(f"commands   cd {ROOT} && outlast runs list", "dim")
    show.line("reload     a change in trigger/ or app/ starts the worker anew", "dim")
    async with stack.kept_alive(show.trouble), followed(stack, show):
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    show.title("Stopping")


def run(name: str, main: Coroutine[None, None, None]) -> None:
    """Run `main` and end the process.

    Ctrl-C, SIGTERM and a closed terminal end it once and in order: whoever presses Ctrl-C again
    must not leave processes behind.
    """
    try:
        asyncio.run(_until_ended(main))
    except asyncio.CancelledError:
        print(f"{name}: stopped before its end", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - whatever it is, we have failed and say why
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)


async def _until_ended(main: Coroutine[None, None, None]) -> None:
    task = asyncio.ensure_future(main)
    asked: list[int] = []

    def end(number: int) -> None:
        if not asked:
            task.cancel()
        asked.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    await task


@contextmanager
def _alone() -> Iterator[Folder]:
    """Keep everybody else out: the databases begin empty. The lock dies with the process."""
    folder = Folder(ROOT)
    folder.create()
    with folder.owned():
        yield folder


@contextmanager
def _announced(folder: Folder, stack: Stack) -> Iterator[None]:
    """Let the commands of a second terminal in this folder find the platform."""
    folder.announce(Address(stack.api_url, f"{stack.api_url}/", "proj_saas", stack.secret_key))
    try:
        yield
    finally:
        folder.withdraw()


@asynccontextmanager
async def _postgres() -> AsyncIterator[str]:
    """Give the URL of the server in `OUTLAST_DATABASE_URL`, or of one that we start."""
    if given := os.environ.get("OUTLAST_DATABASE_URL"):
        yield given
        return
    async with embedded(FOLDER) as url:
        yield url
