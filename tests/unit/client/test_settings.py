"""Where the server is: the environment, then a running `outlast dev`, else an error that helps."""

import json
from pathlib import Path

import pytest

from outlast.client import settings as module
from outlast.client.errors import SettingsError
from outlast.client.settings import Settings, settings

NAMES = ("OUTLAST_API_URL", "OUTLAST_SECRET_KEY", "TRIGGER_API_URL", "TRIGGER_SECRET_KEY")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "project" / "src" / "deep"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(module, "_kept", module._Kept())
    return tmp_path / "project"


def announce(folder: Path, url: str = "http://127.0.0.1:4000", key: str = "tr_dev_1") -> None:
    (folder / ".outlast").mkdir()
    (folder / ".outlast" / "dev.json").write_text(json.dumps({"api_url": url, "secret_key": key}))


def test_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    announce(folder)
    monkeypatch.setenv("TRIGGER_API_URL", "https://other.example")
    monkeypatch.setenv("TRIGGER_SECRET_KEY", "tr_prod_2")
    assert settings() == Settings("https://other.example", "tr_prod_2")

    monkeypatch.setenv("OUTLAST_API_URL", "https://outlast.example/")
    monkeypatch.setenv("OUTLAST_SECRET_KEY", "tr_prod_1")
    assert settings() == Settings("https://outlast.example", "tr_prod_1")


def test_a_running_dev_above_the_folder_is_found(folder: Path) -> None:
    announce(folder)

    assert settings() == Settings("http://127.0.0.1:4000", "tr_dev_1")
    assert settings().loopback


def test_without_any_the_error_names_dev_and_the_variables() -> None:
    with pytest.raises(SettingsError, match=r"outlast dev.*OUTLAST_API_URL and OUTLAST_SECRET_KEY"):
        settings()


def test_half_a_configuration_is_never_completed_from_elsewhere(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """The key of one platform must not go to another."""
    announce(folder)
    monkeypatch.setenv("OUTLAST_SECRET_KEY", "tr_prod_1")
    monkeypatch.setenv("TRIGGER_API_URL", "https://other.example")
    with pytest.raises(SettingsError, match="OUTLAST_API_URL is not"):
        settings()


def test_a_file_that_leads_away_is_not_trusted(folder: Path) -> None:
    announce(folder, url="https://evil.example")
    with pytest.raises(SettingsError, match="another machine"):
        settings()


def test_a_file_of_another_user_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    announce(folder)
    monkeypatch.setattr("os.getuid", lambda: 4711)
    with pytest.raises(SettingsError, match="another user"):
        settings()


def test_a_url_must_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_API_URL", "localhost:4000")
    monkeypatch.setenv("OUTLAST_SECRET_KEY", "tr_prod_1")
    with pytest.raises(SettingsError, match="http"):
        settings()


def test_the_key_is_never_printed() -> None:
    assert "tr_prod" not in repr(Settings("https://a.example", "tr_prod_1"))
