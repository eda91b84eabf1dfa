"""The platform in tests that are plain functions."""

import pytest

from kit_tasks import TASKS, Decision, Post, fails, mail, plain, publish
from outlast import RunFailed, wait
from outlast.testing import SyncPlatform


def test_a_plain_test_drives_a_whole_platform() -> None:
    with SyncPlatform(tasks=TASKS) as env:
        run = publish.trigger_sync(Post(title="x"))
        env.until_waiting(run)
        env.advance(days=1)
        env.kill_worker()
        wait.complete_token_sync(env.metadata(run)["token"], Decision(approved=True))
        env.settle()

        assert env.result(run).output == "published"
        assert env.status(run) == "completed"
        assert env.logs(run) == ["waits for an editor"]
        env.assert_triggered(mail, count=2)
        env.assert_not_triggered(plain)
        assert env.run(plain, 4).output == 4


def test_what_fails_inside_is_raised_outside() -> None:
    with pytest.raises(RunFailed, match="no luck"), SyncPlatform(tasks=TASKS) as env:
        assert env.run(fails).output is None
