"""Values of secret variables that a task prints stand in none of its lines."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from fleet import Fleet, fleet

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

ENVVARS = "/api/v1/projects/proj_fleet/envvars/dev"
KEY = 'hazelnut "pie" für zwei'
PEM = "-----BEGIN KEY-----\nwalnut4cake\npecan5tart\n-----END KEY-----\n"
HIDDEN = ("hazelnut", "walnut4cake", "pecan5tart", "almond-cookie")
TASKS = """\
import json
import logging
import os
import sys

from outlast import logger, task


@task("talks")
async def talks(payload: int) -> str:
    key, pem = os.environ["PIE_KEY"], os.environ["PEM"]
    print(f"the key is {key}, of {os.environ['PLAIN']}")
    print(pem, end="")
    print(json.dumps({"pem": pem}), file=sys.stderr)
    logging.getLogger("shop").warning("with %s", key)
    logger.info("here", {"key": key, "deep": [{"pem": pem}]})
    with logger.trace(key, {"key": key}):
        pass
    return key[:6]
"""


@pytest.fixture
async def town(tmp_path: Path, fresh_url: str) -> AsyncIterator[Fleet]:
    async with fleet(tmp_path, TASKS, url=fresh_url) as made:
        await made.server()
        yield made


async def store(town: Fleet, *, secret: bool, **values: str) -> None:
    body = {"variables": values, "isSecret": secret, "override": True}
    headers = {"authorization": f"Bearer {town.key}"}
    async with httpx.AsyncClient(base_url=town.apis[0], headers=headers) as client:
        assert (await client.post(f"{ENVVARS}/import", json=body)).status_code == 200


async def told(town: Fleet) -> tuple[str, str]:
    """Return how the key of a run began, and all that its lines hold."""
    [run] = await town.trigger("talks", 1)
    await town.all_ended([run])
    rows = await town.sql(
        "select message, coalesce(attributes, '') from outlast.log where run_id = $1", run
    )
    [[output]] = await town.sql("select output from outlast.run_end where run_id = $1", run)
    return output, "\n".join(text for row in rows for text in row)


async def test_secret_values_are_masked_from_their_first_run_on_and_plain_ones_are_not(
    town: Fleet,
) -> None:
    """However they are said; also one that came while the worker ran."""
    await store(town, secret=True, PIE_KEY=KEY, PEM=PEM)
    await store(town, secret=False, PLAIN="sugar-free")
    await town.worker()
    _, first = await told(town)

    await store(town, secret=True, PIE_KEY="almond-cookie")
    for _ in range(30):
        began, later = await told(town)
        if "almond" in began:
            break

    assert "almond" in began
    for lines in (first, later):
        assert "the key is ***, of sugar-free" in lines
        assert "with ***" in lines
        assert [secret for secret in HIDDEN if secret in lines] == []
