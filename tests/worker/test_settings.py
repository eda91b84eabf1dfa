"""What a worker is told comes from arguments first, then from [tool.outlast]."""

from pathlib import Path
from typing import Unpack

import pytest

from outlast.protocol.manifests import RetryPolicy
from outlast.worker.environment import (
    Stored,
    executor_environment,
    hash_seed,
    known_secrets,
    local_variables,
)
from outlast.worker.settings import Overrides, WorkerSettings, load_settings, project_root

URLS = ["http://127.0.0.1:3030"]


def load(root: Path, **overrides: Unpack[Overrides]) -> WorkerSettings:
    return load_settings(root, api_urls=URLS, secret_key="k", **overrides)


def test_a_project_says_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        """
        [tool.outlast]
        project = "proj_1"
        dirs = ["jobs", "shop.tasks"]
        max_duration = "10m"
        ttl = "1h"
        log_level = "debug"
        retries = { max_attempts = 5, min_timeout = "500ms" }
        something_for_another_command = true
        """
    )

    settings = load(tmp_path, processes=3, loops=None)

    assert settings.project == "proj_1"
    assert settings.dirs == ("jobs", "shop.tasks")
    assert settings.max_duration == 600.0
    assert settings.ttl == 3600.0
    assert settings.retry == RetryPolicy(max_attempts=5, min_timeout=0.5)
    assert (settings.processes, settings.loops) == (3, 1)


def test_arguments_win(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.outlast]\ndirs = ["jobs"]\n')

    settings = load_settings(tmp_path, api_urls=URLS, secret_key="k", dirs=["other"])

    assert settings.dirs == ("other",)


def test_without_a_project_file_there_are_defaults(tmp_path: Path) -> None:
    assert load(tmp_path).dirs == ("trigger",)
    (tmp_path / "src" / "trigger").mkdir(parents=True)
    assert load(tmp_path).dirs == ("src/trigger",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[tool.outlast]\ndirs = 3\n", "dirs"),
        ("[tool.outlast]\nretries = { attempts = 3 }\n", "attempts"),
        ("[tool.outlast]\nretries = { max_attempts = 251 }\n", "between 1 and 250"),
        ('[tool.outlast]\nretries = { out_of_memory = "huge" }\n', "large-2x"),
        ("[tool.outlast\n", "not valid TOML"),
        ('[tool.outlast]\nmax_duration = "soon"\n', "max_duration"),
        ('[tool.outlast]\nttl = "soon"\n', "ttl"),
    ],
)
def test_a_mistake_names_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)

    with pytest.raises(ValueError, match=complaint):
        load(tmp_path)


@pytest.mark.parametrize(
    ("key", "text", "retries"),
    [
        ("tr_dev_x", "", False),
        ("tr_dev_x", "[tool.outlast.retries]\nenabled_in_dev = true\n", True),
        ("tr_prod_x", "", True),
    ],
)
def test_runs_are_retried_in_dev_where_the_project_says_so(
    tmp_path: Path, key: str, text: str, retries: bool
) -> None:
    (tmp_path / "pyproject.toml").write_text(text)

    assert load_settings(tmp_path, api_urls=URLS, secret_key=key).retries is retries


def test_a_worker_needs_a_server_and_room(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="server"):
        load_settings(tmp_path, api_urls=[], secret_key="k")
    with pytest.raises(ValueError, match="processes"):
        load(tmp_path, processes=0)


def test_the_key_is_not_shown(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, api_urls=URLS, secret_key="tr_dev_hidden")

    assert "hidden" not in repr(settings)


def test_the_project_is_the_nearest_folder_with_a_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    inner = tmp_path / "src" / "app"
    inner.mkdir(parents=True)

    assert project_root(inner) == tmp_path


def test_user_code_sees_everything_but_our_secrets() -> None:
    base = {
        "PATH": "/bin",
        "DATABASE_URL": "postgresql://app@db/app",
        "OUTLAST_API_URL": "http://127.0.0.1:3030",
        "OUTLAST_SECRET_KEY": "anything",
        "OUTLAST_DATABASE_URL": "postgresql://platform",
        "OUTLAST_S3_SECRET_KEY": "of the objects",
        "OUTLAST_SMTP_URL": "smtp://user:password@mail",
        "COPY": "Bearer tr_prod_0123456789abcdef",
        "MINE": "my-key-here",
    }

    environment = executor_environment("my-key", hash_seed=7, base=base)

    assert set(environment) == {"PATH", "DATABASE_URL", "OUTLAST_API_URL", "PYTHONHASHSEED"}
    assert environment["PYTHONHASHSEED"] == "7"


def test_deployed_the_stored_value_wins_and_in_dev_the_machine_does(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FILE=file\nBOTH=file\nSHELL=file\nLATER=early\n")
    (tmp_path / ".env.local").write_text("LATER=late\n")
    base = {"SHELL": "shell"}
    names = ("SHELL", "FILE", "BOTH", "LATER", "ONLY")
    stored = Stored(1, dict.fromkeys(names, "stored"))

    def seen(key: str) -> list[str]:
        found = executor_environment(key, base=base, stored=stored, root=tmp_path)
        return [found[name] for name in names]

    assert seen("tr_dev_x") == ["shell", "file", "file", "late", "stored"]
    assert seen("tr_prod_x") == ["stored"] * 5


def test_a_file_that_cannot_be_read_is_told_without_its_text(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nhunter two\n")
    (tmp_path / ".env.local").write_bytes(b"B=\xff")

    found, faults = local_variables(tmp_path)

    assert found == {}
    assert [fault.split()[0] for fault in faults] == [".env", ".env.local"]
    assert "line 2" in faults[0]
    assert "hunter" not in "".join(faults)


def test_secret_variables_are_masked_and_stored_ones_in_no_representation() -> None:
    stored = Stored(1, {"A": "pear-tree", "B": "plum-tree", "C": "fig"}, secrets=("A", "C"))

    hidden = known_secrets("tr_dev_hidden", stored)

    assert "pear-tree" in hidden
    assert not {"plum-tree", "fig"} & set(hidden), "not secret, or too short to tell from chance"
    assert "tree" not in repr(stored)


def test_versions_have_hash_seeds_that_python_takes() -> None:
    seeds = {hash_seed(digest) for digest in ("", "a", "f" * 32, "0" * 32)}

    assert all(0 < seed < 2**32 for seed in seeds)
    assert hash_seed("f" * 32) != hash_seed("0" * 32)
