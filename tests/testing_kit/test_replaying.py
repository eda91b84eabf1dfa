"""Recorded journals against code that has changed since."""

from pathlib import Path

import pytest

from kit_tasks import Decision, Post, mail, plain, publish, written
from outlast import step, task, wait
from outlast.testing import Journal, Platform, ReplayDifference, replay


@task("kit-publish-v2")
async def harmless(payload: Post) -> str:
    """Do the same in other words, and more after it."""
    await step("write", lambda: written.append("never"))
    token = await wait.create_token(timeout="7d", tags=["post"])
    for _ in range(7):
        await mail.trigger_and_wait("other words")
        decision = await wait.for_token(token, type=Decision, timeout="1d")
        if decision.ok:
            await step("celebrate", lambda: written.append("never"))
            break
    return "published"


@task("kit-publish-v3")
async def reordered(payload: Post) -> str:
    token = await wait.create_token(timeout="7d")
    await step("write", lambda: None)
    await wait.for_token(token)
    return "published"


@task("kit-publish-v4")
async def shorter(payload: Post) -> str:
    await step("write", lambda: None)
    return "published"


async def waiting(env: Platform) -> Journal:
    run = await publish.trigger(Post(title="x"))
    await env.until_waiting(run)
    written.clear()
    return env.journal(run)


async def ended(env: Platform) -> Journal:
    run = await publish.trigger(Post(title="x"))
    await env.until_waiting(run)
    await wait.complete_token(env.metadata(run)["token"], Decision(approved=True))
    await env.result(run)
    written.clear()
    return env.journal(run)


async def test_the_same_code_replays_and_does_nothing(env: Platform) -> None:
    waits = await replay(await waiting(env), against=publish)
    ends = await replay(await ended(env), against=publish)

    assert [key.split(":")[0] for key in waits.waits_for] == ["token"]
    assert (ends.has_ended, ends.output) == (True, "published")
    assert written == []
    env.assert_triggered(mail, count=2)


async def test_a_harmless_change_passes_where_the_run_is_under_way(env: Platform) -> None:
    """Other arguments and more to do later; an ended run shows what is new."""
    assert (await replay(await waiting(env), against=harmless)).waits_for

    with pytest.raises(ReplayDifference, match="asks for step:celebrate#0, which the recorded"):
        await replay(await ended(env), against=harmless)
    assert written == []


async def test_other_calls_are_shown_with_what_was_recorded(env: Platform) -> None:
    journal = await waiting(env)

    with pytest.raises(ReplayDifference, match=r"call 1 of the task was step:write#0(.|\n)*token"):
        await replay(journal, against=reordered)
    with pytest.raises(ReplayDifference, match="never asks for waitpoint:token#0, child:kit-mail"):
        await replay(journal, against=shorter)


async def test_a_journal_is_kept_in_a_file_and_replayed_without_a_platform(
    tmp_path: Path,
) -> None:
    async with Platform(tasks=[publish, mail]) as env:
        (await waiting(env)).save(tmp_path / "publish.json")

    journal = Journal.load(tmp_path / "publish.json")

    assert (await replay(journal, against=publish)).waits_for
    assert str(journal).splitlines()[0] == "step:write#0 ok"


async def test_a_plain_function_is_replayed_in_its_thread(env: Platform) -> None:
    run = await plain.trigger(4)
    await env.until_waiting(run)
    waits = await replay(env.journal(run), against=plain)
    assert waits.waits_for == ("wait:for#0",)

    await env.result(run)
    assert (await replay(env.journal(run), against=plain)).output == 4
