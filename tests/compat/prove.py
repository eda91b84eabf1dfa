"""Proof that the official npm clients work unmodified: a server, a worker and Node on top.

Usage: python tests/compat/prove.py [VERSION ...] [PART ...].
The packages come from `npm ci` beside this file.
"""

import asyncio
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
VERSIONS = ("4.8.3", "4.5.12")
PAGES = "pages"
PARTS = ("runs", "things", "live", "inside", "personal", "absent", "hooks", PAGES)
DEADLINE = 240  # s per version
sys.path.insert(0, str(HERE.parent))

from browsing import CHROMIUM  # noqa: E402
from compat import pages  # noqa: E402  (a folder of tests, not a package)
from fleet import Fleet, fleet  # noqa: E402
from outlast.engine.database import Database, DatabaseSettings  # noqa: E402
from outlast.engine.ids import Ids  # noqa: E402
from outlast.engine.keys import KeyRing, Keys  # noqa: E402
from outlast.engine.users import Users  # noqa: E402
from outlast.protocol.roles import Role  # noqa: E402

PEOPLE = (
    ("COMPAT_PERSONAL_TOKEN", "compat@example.com", Role.OPERATOR),
    ("COMPAT_VIEWER_TOKEN", "viewer", Role.VIEWER),
)


async def prove(versions: tuple[str, ...], parts: tuple[str, ...]) -> int:
    """Drive every call in every version; return how many failed."""
    passed = failed = 0
    calls = tuple(one for one in parts if one != PAGES)
    with tempfile.TemporaryDirectory(prefix="outlast-compat-") as folder:
        tasks = (HERE / "trigger_tasks.py").read_text()
        async with fleet(Path(folder), tasks) as made:
            (made.root / "trigger" / "imports.py").write_text(pages.guide_tasks())
            front = pages.Front(made, await made.server())
            if PAGES in parts:
                await made.server()  # where things go on while the one before the pages is down
            await made.worker()
            credentials = await _credentials(made)
            for version in versions:
                counts = [await _drive(made, version, credentials, calls)] if calls else []
                if PAGES in parts:
                    counts.append(await pages.prove(made, version, front))
                passed += sum(count[0] for count in counts)
                failed += sum(count[1] for count in counts)
            if failed:
                sys.stderr.write(made.logs() if "-v" in sys.argv else "")
    print(f"{passed} passed, {failed} failed")  # noqa: T201  (what this program is for)
    return failed


async def _credentials(made: Fleet) -> dict[str, str]:
    """Return what Node finds in its environment: a key, and tokens of two people."""
    settings = DatabaseSettings(url=made.url, pool_size=1)
    async with await Database.open(settings) as opened:
        keys = Keys(opened, KeyRing((made._environ["OUTLAST_ENCRYPTION_KEYS"],)))
        [row] = await made.sql("select id from outlast.environment where slug = 'dev'")
        users = Users(opened, Ids(opened))
        found = {"COMPAT_ADDITIONAL_KEY": (await keys.create(row["id"], "compat")).secret}
        for variable, name, role in PEOPLE:
            await users.add(name, role)
            found[variable] = (await users.tokens.create(name)).secret
        return found


async def _drive(
    made: Fleet, version: str, credentials: dict[str, str], parts: tuple[str, ...]
) -> tuple[int, int]:
    process = await asyncio.create_subprocess_exec(
        "node",
        "drive.mjs",
        version,
        *parts,
        cwd=HERE,
        env={
            **os.environ,
            "TRIGGER_API_URL": made.apis[0],
            "TRIGGER_SECRET_KEY": made.key,
            **credentials,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines = []
    try:
        async with asyncio.timeout(DEADLINE):
            async for line in process.stdout:
                lines.append(line.decode())
                sys.stdout.write(f"{version}  {lines[-1]}")
                sys.stdout.flush()
            await process.wait()
    except TimeoutError:
        print(f"{version}  not done after {DEADLINE} s")  # noqa: T201
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    found = re.search(r"^(\d+) passed, (\d+) failed$", "".join(lines), re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else (0, 1)


def _parts(named: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parts to prove: without pages where nothing can show them."""
    if named or any(map(shutil.which, CHROMIUM)):
        return named or PARTS
    print("no Chromium here: the pages are left out")  # noqa: T201
    return tuple(one for one in PARTS if one != PAGES)


if __name__ == "__main__":
    chosen = tuple(one for one in sys.argv[1:] if one in VERSIONS)
    named = tuple(one for one in sys.argv[1:] if one in PARTS)
    raise SystemExit(min(1, asyncio.run(prove(chosen or VERSIONS, _parts(named)))))
