"""Environment variables over HTTP: as the official clients ask, and seen by nobody who must not."""

import logging
import time

import httpx
import jwt
import pytest

from api_server import Api
from outlast.engine.tokens import AUDIENCE, ISSUER
from outlast.protocol.roles import Role

PATH = "/api/v1/projects/proj_test/envvars/dev"
DONE = {"success": True}


async def listed(client: httpx.AsyncClient, path: str = PATH) -> dict[str, tuple[str, bool]]:
    reply = await client.get(path)
    assert reply.status_code == 200, reply.text
    return {one["name"]: (one["value"], one["isSecret"]) for one in reply.json()}


def token(api: Api, *scopes: str) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 300, "pub": True}
    claims |= {"sub": api.platform.environment.id, "scopes": list(scopes)}
    return jwt.encode(claims, api.key, algorithm="HS256")


async def test_a_variable_is_made_read_changed_and_deleted(api: Api) -> None:
    client = api.client

    assert (await client.post(PATH, json={"name": "A", "value": "1"})).json() == DONE
    found = (await client.get(f"{PATH}/A")).json()
    assert (found["name"], found["value"], found["isSecret"]) == ("A", "1", False)
    assert (await client.put(f"{PATH}/A", json={"value": "2"})).json() == DONE
    assert await listed(client) == {"A": ("2", False)}
    assert (await client.delete(f"{PATH}/A")).json() == DONE

    assert await listed(client) == {}
    for gone in (client.get(f"{PATH}/A"), client.delete(f"{PATH}/A")):
        assert (await gone).status_code == 404
    assert (await client.put(f"{PATH}/A", json={"value": "3"})).status_code == 404


async def test_who_wrote_it_last_is_told(api: Api) -> None:
    """A key by its id, a person by the account's name; nobody for a token that is no person's."""

    async def writer() -> str | None:
        found: dict[str, str] = (await api.client.get(f"{PATH}/A")).json()
        assert [found] == (await api.client.get(PATH)).json()
        return found.get("updatedBy")

    await api.client.post(PATH, json={"name": "A", "value": "1"})
    [root] = await api.engine.keys.list(api.platform.environment.id)
    assert await writer() == root.id

    await api.engine.users.add("ada", Role.OPERATOR)
    personal = (await api.engine.users.tokens.create("ada")).secret
    async with api.with_bearer(personal) as ada:
        await ada.put(f"{PATH}/A", json={"value": "2"})
    assert await writer() == "ada"

    async with api.with_bearer(token(api, "write:all")) as nobody:
        await nobody.put(f"{PATH}/A", json={"value": "3"})
    assert await writer() is None

    made = await api.engine.keys.create(api.platform.environment.id, "web")
    async with api.with_bearer(made.secret) as app:
        body = {"variables": {"A": "4"}, "override": True}
        await app.post(f"{PATH}/import", json=body)
    assert await writer() == made.id


async def test_a_secret_value_is_never_read_again_and_stays_secret(api: Api) -> None:
    await api.client.post(PATH, json={"name": "A", "value": "pear-soup", "isSecret": True})
    await api.client.put(f"{PATH}/A", json={"value": "plum-soup", "isSecret": False})
    await api.client.post(f"{PATH}/import", json={"variables": {"A": "fig-soup"}, "override": True})

    assert await listed(api.client) == {"A": ("<redacted>", True)}
    assert (await api.client.get(f"{PATH}/A")).json()["value"] == "<redacted>"
    for_workers = (await api.client.get("/api/outlast/v1/variables")).json()
    assert for_workers["variables"] == {"A": "fig-soup"}


async def test_an_import_without_override_changes_nothing_that_is_there(api: Api) -> None:
    await api.client.post(PATH, json={"name": "A", "value": "1"})

    refused = await api.client.post(f"{PATH}/import", json={"variables": {"A": "2", "B": "2"}})
    assert refused.status_code == 422
    assert "A" in refused.json()["error"]
    assert await listed(api.client) == {"A": ("1", False)}

    taken = await api.client.post(
        f"{PATH}/import",
        json={"variables": {"A": "2", "B": "2"}, "override": True, "parentVariables": {"C": "3"}},
    )
    assert taken.json() == DONE
    assert await listed(api.client) == {"A": ("2", False), "B": ("2", False)}
    assert (await api.client.post(PATH, json={"name": "B", "value": "3"})).status_code == 422


@pytest.mark.parametrize(
    "variable",
    [
        {"name": "A B", "value": "apricot"},
        {"name": "1A", "value": "apricot"},
        {"name": "", "value": "apricot"},
        {"name": "A" * 129, "value": "apricot"},
        {"name": "A", "value": "apricot\0"},
        {"name": "A", "value": "apricot" * 5000},
        {"name": "TRIGGER_SECRET_KEY", "value": "apricot"},
        {"name": "OUTLAST_DATABASE_URL", "value": "apricot"},
        {"name": "A", "value": ["apricot"]},
        {"name": "A"},
    ],
)
async def test_what_is_no_variable_is_refused_without_its_value(
    api: Api, variable: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        refused = await api.client.post(PATH, json=variable)

    assert refused.status_code in {400, 422}
    assert "apricot" not in refused.text
    assert "apricot" not in caplog.text
    assert await listed(api.client) == {}


async def test_an_environment_holds_only_so_much(api: Api) -> None:
    large = {f"A{number}": "x" * 30_000 for number in range(17)}
    assert (await api.client.post(f"{PATH}/import", json={"variables": large})).is_success

    refused = await api.client.post(PATH, json={"name": "B", "value": "x" * 30_000})

    assert refused.status_code == 422
    assert len(await listed(api.client)) == 17


async def test_no_environment_sees_the_variables_of_another(api: Api) -> None:
    await api.client.post(PATH, json={"name": "A", "value": "quince"})
    tenancy, keys = api.engine.tenancy, api.engine.keys
    prod = await tenancy.environment("proj_test", "prod")
    [prod_key] = await keys.roots(prod.id)
    of_prod = PATH.replace("dev", "prod")

    async with api.with_bearer(prod_key) as client:
        assert await listed(client, of_prod) == {}
        assert (await client.post(of_prod, json={"name": "A", "value": "medlar"})).is_success
        for path in (PATH, PATH.replace("proj_test", "proj_else")):
            assert (await client.get(path)).status_code == 404
            assert (await client.put(f"{path}/A", json={"value": "medlar"})).status_code == 404
        for_workers = await client.get("/api/outlast/v1/variables")
        assert for_workers.json()["variables"] == {"A": "medlar"}

    assert await listed(api.client) == {"A": ("quince", False)}


async def test_staging_has_two_names(api: Api) -> None:
    staging = await api.engine.tenancy.environment("proj_test", "stg")
    [key] = await api.engine.keys.roots(staging.id)
    async with api.with_bearer(key) as client:
        path = PATH.replace("dev", "staging")
        assert (await client.post(path, json={"name": "A", "value": "1"})).json() == DONE
        assert await listed(client, PATH.replace("dev", "stg")) == {"A": ("1", False)}


async def test_who_only_reads_sees_names_and_no_values(api: Api) -> None:
    await api.client.post(PATH, json={"name": "A", "value": "quince"})

    async with api.with_bearer(token(api, "read:all")) as viewer:
        assert await listed(viewer) == {"A": ("<redacted>", False)}
        assert "quince" not in (await viewer.get(f"{PATH}/A")).text
        assert (await viewer.get("/api/outlast/v1/variables")).status_code == 403
    async with api.with_bearer(token(api, "read:all", "write:all")) as operator:
        assert await listed(operator) == {"A": ("quince", False)}
        assert (await operator.get("/api/outlast/v1/variables")).status_code == 403


async def test_every_change_raises_the_revision_that_workers_watch(api: Api) -> None:
    async def revision() -> int:
        found: int = (await api.client.get("/api/outlast/v1/variables")).json()["revision"]
        return found

    seen = [await revision()]
    await api.client.post(PATH, json={"name": "A", "value": "1"})
    seen.append(await revision())
    await api.client.put(f"{PATH}/A", json={"value": "2"})
    seen.append(await revision())
    await api.client.delete(f"{PATH}/A")
    seen.append(await revision())
    await api.client.delete(f"{PATH}/A")

    assert seen == sorted(set(seen))
    assert await revision() == seen[-1]
