"""The whole example for your hands: platform, worker, app and what stands in for its vendors.

Run it with `make dev` or `python examples/saas/dev.py`. It begins with the sample data and ends
with Ctrl-C.
"""

import argparse

from local.bringup import PLATFORM_PORT, PORT, brought_up, run, stay
from local.show import Show

PAGE_PAUSE = 1.0
"""Seconds that a page takes longer: enough to watch it, and to kill the worker in time."""


async def main(port: int, platform_port: int) -> None:
    """Bring everything up and stay."""
    show = Show()
    ports = (port, platform_port)
    async with brought_up(show, ports=ports, page_pause=PAGE_PAUSE) as stack:
        await stay(show, stack)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help="of the app")
    parser.add_argument("--platform-port", type=int, default=PLATFORM_PORT, help="of Outlast")
    arguments = parser.parse_args()
    run("dev", main(arguments.port, arguments.platform_port))
