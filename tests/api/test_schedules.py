"""Schedules over HTTP, as the official client calls them, and through the SDK."""

from typing import Any

import pytest

from api_server import Api

SCHEDULES = "/api/v1/schedules"
PLAN = {"task": "hello", "cron": "0 9 * * 1-5", "timezone": "Europe/Berlin"}


async def create(api: Api, key: str = "a", **more: object) -> dict[str, Any]:
    reply = await api.client.post(SCHEDULES, json={**PLAN, "deduplicationKey": key, **more})
    assert reply.status_code == 200, reply.text
    made: dict[str, Any] = reply.json()
    return made


async def test_a_schedule_tells_its_next_five_ticks_and_itself_in_words(api: Api) -> None:
    made = await create(api, externalId="org_1", window="30m")

    assert made["id"].startswith("sched_")
    assert (made["type"], made["active"], made["externalId"]) == ("IMPERATIVE", True, "org_1")
    assert made["generator"] == {
        "type": "CRON",
        "expression": "0 9 * * 1-5",
        "description": "At 09:00 on Monday through Friday",
    }
    assert len(made["upcoming"]) == 5
    assert made["upcoming"][0] == made["nextRun"] <= made["nextRunEffectiveAt"]
    assert made["environments"][0]["type"] == "DEVELOPMENT"


async def test_the_same_key_changes_the_schedule(api: Api) -> None:
    first = await create(api)
    second = await create(api, cron="0 17 * * *")

    assert second["id"] == first["id"]
    assert second["generator"]["expression"] == "0 17 * * *"


async def test_a_schedule_is_read_changed_switched_and_deleted(api: Api) -> None:
    made = await create(api)
    path = f"{SCHEDULES}/{made['id']}"

    changed = (await api.client.put(path, json={**PLAN, "cron": "0 8 * * *"})).json()
    off = (await api.client.post(f"{path}/deactivate")).json()
    on = (await api.client.post(f"{path}/activate")).json()
    read = (await api.client.get(path)).json()
    gone = await api.client.delete(path)

    assert changed["generator"]["expression"] == "0 8 * * *"
    assert (off["active"], "nextRun" in off) == (False, False)
    assert on == read
    assert gone.json() == {"id": made["id"]}
    assert (await api.client.get(path)).status_code == 404
    assert (await api.client.delete(path)).status_code == 404


async def test_a_list_has_pages_and_filters(api: Api) -> None:
    for n in range(3):
        await create(api, f"key-{n}", externalId=f"org_{n}")

    page = (await api.client.get(SCHEDULES, params={"perPage": 2, "page": 2})).json()
    mine = (await api.client.get(SCHEDULES, params={"filter[externalId]": "org_1"})).json()

    assert page["pagination"] == {"currentPage": 2, "totalPages": 2, "count": 3}
    assert [one["deduplicationKey"] for one in page["data"]] == ["key-2"]
    assert [one["deduplicationKey"] for one in mine["data"]] == ["key-1"]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"cron": "* * * * * *"}, "five fields"),
        ({"cron": "99 * * * *"}, "cron"),
        ({"timezone": "Nowhere/Else"}, "IANA"),
        ({"task": "unknown-task"}, "current version"),
        ({"window": "40h"}, "24h"),
    ],
)
async def test_what_cannot_be_is_refused_with_the_fix(
    api: Api, wrong: dict[str, str], word: str
) -> None:
    reply = await api.client.post(SCHEDULES, json={**PLAN, "deduplicationKey": "k", **wrong})

    assert reply.status_code == 422
    assert word in reply.json()["error"]


async def test_time_zones_need_no_key(api: Api) -> None:
    reply = await api.client.get(
        "/api/v1/timezones", params={"excludeUtc": "true"}, headers={"authorization": ""}
    )
    names = reply.json()["timezones"]

    assert "Europe/Berlin" in names
    assert "UTC" not in names
