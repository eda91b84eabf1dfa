"""The `.outlast` folder: private, owned by one process, never half-written."""

import json
import os
import stat
from pathlib import Path

import pytest

from outlast.cli.folder import Address, Folder, Identity
from outlast.cli.terminal import Stop

ADDRESS = Address("http://127.0.0.1:3030", "http://127.0.0.1:3030/", "proj_a", "tr_dev_x")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a created folder."""
    folder = Folder(tmp_path)
    folder.create()
    return folder


def test_only_the_user_may_look_inside(folder: Folder) -> None:
    """It holds a key and a database."""
    folder.announce(ADDRESS)
    folder.keep(Identity("proj_a", "tr_dev_x", "k"))

    assert _mode(folder.path) == 0o700
    assert _mode(folder.path / "dev.json") == 0o600
    assert _mode(folder.path / "identity.json") == 0o600


def test_an_open_folder_of_an_older_version_is_closed(tmp_path: Path) -> None:
    """And nothing above it changes."""
    above = _mode(tmp_path)
    (tmp_path / ".outlast").mkdir(mode=0o755)

    Folder(tmp_path).create()

    assert _mode(tmp_path / ".outlast") == 0o700
    assert _mode(tmp_path) == above


def test_version_control_does_not_see_it(folder: Folder) -> None:
    """Without a line in the project's own ignore file."""
    assert (folder.path / ".gitignore").read_text() == "*\n"


def test_the_second_owner_is_told_where_the_first_is(folder: Folder) -> None:
    """By the kernel's lock, so a stale file never lies."""
    with folder.owned():
        folder.announce(ADDRESS)
        with pytest.raises(Stop, match=rf"already runs .*pid {os.getpid()}"), folder.owned():
            pass

    with folder.owned():
        pass


def test_scripts_find_the_address_and_nothing_of_a_draft(folder: Folder) -> None:
    """`dev.json` is renamed into place."""
    folder.announce(ADDRESS)

    assert json.loads((folder.path / "dev.json").read_text()) == {
        "api_url": ADDRESS.api_url,
        "dashboard_url": ADDRESS.dashboard_url,
        "project_ref": "proj_a",
        "secret_key": "tr_dev_x",
        "pid": os.getpid(),
    }
    assert {path.name for path in folder.path.iterdir()} == {".gitignore", "dev.json"}


def test_a_withdrawn_address_is_gone_even_twice(folder: Folder) -> None:
    """A stopped server leaves no pointer to itself."""
    folder.announce(ADDRESS)

    folder.withdraw()
    folder.withdraw()

    assert not (folder.path / "dev.json").exists()


@pytest.mark.parametrize("kept", ["", "{", '{"other": 1}', "[]"])
def test_an_unreadable_identity_is_a_first_start(folder: Folder, kept: str) -> None:
    """A key can be made anew; a start must not fail."""
    (folder.path / "identity.json").write_text(kept)

    assert folder.identity() == Identity()


def test_secrets_do_not_show_in_a_traceback() -> None:
    """Of either record."""
    assert "tr_dev_x" not in repr(ADDRESS)
    assert "tr_dev_x" not in repr(Identity("proj_a", "tr_dev_x", "tr_dev_x"))


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
