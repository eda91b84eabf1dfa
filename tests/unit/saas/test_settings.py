import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from app.settings import ROOT, Settings, SettingsError, read_env_file, read_settings

NEEDED = {
    "DATABASE_URL": "postgresql://saas_app:secret@127.0.0.1/saas",
    "SESSION_SECRET": "s" * 16,
    "INVITATION_SIGNING_SECRET": "i" * 16,
    "CRON_SECRET": "c" * 16,
    "PAYMENTS_SECRET_KEY": "p" * 16,
    "PAYMENTS_WEBHOOK_SECRET": "w" * 16,
}


def test_the_example_file_passes_as_it_is() -> None:
    settings = read_settings(read_env_file(ROOT / ".env.example"))

    assert settings.database_url == "postgresql://saas_app:saas_app@127.0.0.1:5432/saas"
    assert settings.trigger_project_ref == "proj_saas"
    assert settings.email_from == "Northwind Billing <billing@northwind.example>"


def test_the_example_file_names_every_variable_that_is_read() -> None:
    beside = {"TRIGGER_API_URL"}  # read by the SDK itself

    named = set(read_env_file(ROOT / ".env.example"))

    assert named - beside == {name.upper() for name in Settings.model_fields}


def test_what_is_not_set_has_a_default() -> None:
    settings = read_settings(NEEDED)

    assert settings.app_url == "http://localhost:3000"
    assert settings.trigger_secret_key is None
    assert settings.export_folder == ROOT / ".outlast" / "exports"


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"APP_URL": "localhost", "EXPORT_PAGE_PAUSE": "-1"})

    message = str(caught.value)
    assert "DATABASE_URL is missing" in message
    assert "APP_URL must start with http://" in message
    assert "EXPORT_PAGE_PAUSE" in message


def test_a_wrong_key_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError, match="TRIGGER_SECRET_KEY must start with tr_") as caught:
        read_settings({**NEEDED, "TRIGGER_SECRET_KEY": "sk_hidden"})

    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TRIGGER_PROJECT_REF", "saas", "TRIGGER_PROJECT_REF must start with proj_"),
        ("CRON_SECRET", "short", "CRON_SECRET"),
        ("PAYMENTS_URL", "ftp://x", "PAYMENTS_URL must start with http://"),
    ],
)
def test_a_value_of_the_wrong_shape_is_refused(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_settings({**NEEDED, name: value})


def test_a_key_does_not_show_when_printed() -> None:
    settings = read_settings({**NEEDED, "TRIGGER_SECRET_KEY": "tr_dev_hidden"})

    assert "hidden" not in repr(settings)


def test_an_empty_variable_counts_as_unset() -> None:
    assert read_settings({**NEEDED, "SMTP_URL": ""}).smtp_url == "smtp://127.0.0.1:2525"


def test_an_env_file_may_hold_comments_quotes_and_equal_signs(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# comment\n\nA=1\nB = 'two words'\nC=\"x=y\"\n", encoding="utf-8")

    assert read_env_file(path) == {"A": "1", "B": "two words", "C": "x=y"}


def test_no_env_file_is_no_variables(tmp_path: Path) -> None:
    assert read_env_file(tmp_path / ".env") == {}


def test_every_variable_of_the_inventory_is_in_the_example_file() -> None:
    """And shaped so that the app is built and tested without any vendor's real key."""
    named = read_env_file(ROOT / ".env.example")

    assert named["TRIGGER_SECRET_KEY"].startswith("tr_")
    assert named["TRIGGER_PROJECT_REF"].startswith("proj_")
    assert named["APP_URL"] == "http://localhost:3000"
    carried = {"DATABASE_URL", "DATABASE_OWNER_URL", "EMAIL_FROM", "EMAIL_REPLY_TO", "APP_NAME"}
    secret = {"CRON_SECRET", "SESSION_SECRET", "INVITATION_SIGNING_SECRET"}
    assert carried | secret <= set(named)


@pytest.mark.parametrize("missing", sorted(NEEDED))
def test_a_missing_variable_is_named(missing: str) -> None:
    with pytest.raises(SettingsError, match=f"^{missing} is missing. see .env.example"):
        read_settings({name: value for name, value in NEEDED.items() if name != missing})


@pytest.mark.parametrize("module", ["scripts.migrate", "scripts.seed", "local.vendors"])
def test_a_program_says_what_is_missing_and_shows_no_traceback(module: str, tmp_path: Path) -> None:
    """As a newcomer meets it who has made no `.env` yet."""
    environ = {"PATH": os.environ["PATH"], "DATABASE_URL": "mysql://x"}
    shutil.copytree(ROOT, tmp_path / "saas", ignore=shutil.ignore_patterns(".outlast", ".env"))

    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=tmp_path / "saas",
        env=environ | {"PYTHONPATH": str(tmp_path / "saas")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "DATABASE_URL must start with postgresql://" in done.stderr
    assert "CRON_SECRET is missing" in done.stderr
