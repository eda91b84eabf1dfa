"""A personal token over HTTP: every environment that an address names, as far as the role goes."""

from api_server import Api
from outlast.protocol.roles import Role

ENVVARS = "/api/v1/projects/proj_test/envvars"


async def token(api: Api, role: Role) -> str:
    await api.engine.users.add(role.value, role)
    return (await api.engine.users.tokens.create(role.value)).secret


async def test_it_reaches_each_environment_by_its_address(api: Api) -> None:
    async with api.with_bearer(await token(api, Role.OPERATOR)) as client:
        for slug in ("dev", "staging", "prod"):
            made = await client.post(f"{ENVVARS}/{slug}", json={"name": "A", "value": slug})
            assert made.status_code == 200, made.text
        values = [
            (await client.get(f"{ENVVARS}/{slug}/A")).json()["value"]
            for slug in ("dev", "stg", "prod")
        ]
        nowhere = [
            (await client.get(path)).status_code
            for path in (f"{ENVVARS}/moon", "/api/v1/projects/proj_else/envvars/dev")
        ]

    assert values == ["dev", "staging", "prod"]
    assert nowhere == [404, 404]


async def test_it_does_no_more_than_the_role(api: Api) -> None:
    await api.client.post(f"{ENVVARS}/dev", json={"name": "A", "value": "quince"})

    async with api.with_bearer(await token(api, Role.VIEWER)) as viewer:
        assert "quince" not in (await viewer.get(f"{ENVVARS}/dev")).text
        assert (await viewer.put(f"{ENVVARS}/dev/A", json={"value": "x"})).status_code == 403
        await api.engine.users.change("viewer", role=Role.OPERATOR)
        assert (await viewer.put(f"{ENVVARS}/dev/A", json={"value": "x"})).status_code == 200


async def test_runs_of_a_project_are_listed_one_environment_at_a_time(api: Api) -> None:
    run = await api.trigger()
    path = "/api/v1/projects/proj_test/runs"

    async with api.with_bearer(await token(api, Role.VIEWER)) as client:
        dev = (await client.get(path, params={"filter[env]": "dev"})).json()["data"]
        prod = (await client.get(path, params={"filter[env]": "prod"})).json()["data"]
        unnamed = await client.get(path)

    assert [one["id"] for one in dev] == [run]
    assert prod == []
    assert unnamed.status_code == 422
    assert "name it" in unnamed.json()["error"]


async def test_it_says_who_holds_it(api: Api) -> None:
    await api.engine.users.add("ada@example.com", Role.ADMIN)
    named = (await api.engine.users.tokens.create("ada@example.com")).secret

    async with api.with_bearer(named) as client:
        told = (await client.get("/api/v2/whoami")).json()
    async with api.with_bearer(await token(api, Role.VIEWER)) as client:
        plain = (await client.get("/api/v2/whoami")).json()

    assert (told["email"], told["role"]) == ("ada@example.com", "admin")
    assert told["userId"].startswith("user_")
    assert told["dashboardUrl"].startswith("http")
    assert plain["email"] == "viewer@outlast.invalid"
    assert (await api.client.get("/api/v2/whoami")).status_code == 401


async def test_where_no_environment_is_named_it_is_told_to_use_a_key(api: Api) -> None:
    async with api.with_bearer(await token(api, Role.ADMIN)) as client:
        refused = await client.get("/api/v1/runs")

    assert refused.status_code == 401
    assert "use a key" in refused.json()["error"]


async def test_a_revoked_one_opens_nothing_at_once(api: Api) -> None:
    secret = await token(api, Role.ADMIN)
    async with api.with_bearer(secret) as client:
        assert (await client.get(f"{ENVVARS}/dev")).status_code == 200
        [one] = await api.engine.users.tokens.list("admin")
        assert one.last_used_at is not None

        await api.engine.users.tokens.revoke("admin", one.id)

        assert (await client.get(f"{ENVVARS}/dev")).status_code == 401
