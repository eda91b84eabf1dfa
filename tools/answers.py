"""Exit 0 when the PostgreSQL at the URL answers a query within three seconds."""

import asyncio
import sys

import asyncpg


async def answers(url: str) -> bool:
    """Return whether a query comes back, and say which server it was."""
    try:
        connection = await asyncpg.connect(url, timeout=3)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    try:
        print(await connection.fetchval("select version()"))
    finally:
        await connection.close()
    return True


if __name__ == "__main__":
    sys.exit(not asyncio.run(answers(sys.argv[1])))
