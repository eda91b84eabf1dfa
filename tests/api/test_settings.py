"""Settings come from the environment and name the variable that is wrong."""

from pathlib import Path

import pytest

from outlast.server.mail import MailServer
from outlast.server.settings import ServerSettings, SettingsError

BASE = {"OUTLAST_DATABASE_URL": "postgresql://db/x", "OUTLAST_ENCRYPTION_KEYS": "a, b"}


def test_unset_settings_have_defaults() -> None:
    settings = ServerSettings.from_environment(BASE)

    assert settings.encryption_keys == ("a", "b")
    assert settings.host == "127.0.0.1"
    assert settings.allowed_hosts() == {"localhost", "127.0.0.1", "[::1]"}


def test_every_setting_can_be_said() -> None:
    settings = ServerSettings.from_environment(
        BASE
        | {
            "OUTLAST_HOST": "0.0.0.0",
            "OUTLAST_PORT": "99",
            "OUTLAST_HOSTS": "a.example, b.example",
            "OUTLAST_API_URL": "https://Tasks.example:8443/x",
            "OUTLAST_MIGRATE": "no",
            "OUTLAST_DATABASE_POOLER": "true",
            "OUTLAST_SERVER_ID": "one",
            "OUTLAST_DRAIN_SECONDS": "2.5",
            "OUTLAST_VERSION_GRACE": "5",
        }
    )

    assert (settings.port, settings.migrate, settings.server_id) == (99, False, "one")
    assert settings.database_pooler
    assert (settings.drain_seconds, settings.version_grace) == (2.5, 5.0)
    assert settings.allowed_hosts() == {
        "localhost", "127.0.0.1", "[::1]", "a.example", "b.example", "tasks.example",
    }  # fmt: skip


@pytest.mark.parametrize("missing", list(BASE))
def test_a_missing_setting_is_named(missing: str) -> None:
    environ = {name: value for name, value in BASE.items() if name != missing}

    with pytest.raises(SettingsError, match=missing):
        ServerSettings.from_environment(environ)


def test_a_number_that_is_none_is_named_but_not_shown() -> None:
    with pytest.raises(SettingsError, match="OUTLAST_PORT") as caught:
        ServerSettings.from_environment(BASE | {"OUTLAST_PORT": "hunter2"})

    assert "hunter2" not in str(caught.value)


def test_secrets_may_stand_in_files_and_other_variables(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("postgresql://file\n")

    settings = ServerSettings.from_environment(
        {
            "OUTLAST_DATABASE_URL": f"file:{path}",
            "OUTLAST_ENCRYPTION_KEYS": "env:KEYS",
            "KEYS": "k",
        }
    )

    assert settings.database_url == "postgresql://file"
    assert settings.encryption_keys == ("k",)


def test_a_printed_setting_shows_no_secret() -> None:
    text = repr(ServerSettings.from_environment(BASE))

    assert "postgresql" not in text
    assert "'a'" not in text


def test_a_mail_server_is_one_url() -> None:
    url = "smtp://ada:pear%40soup@mail.example?from=jobs@example.com"
    settings = ServerSettings.from_environment(BASE | {"OUTLAST_SMTP_URL": "env:MAIL", "MAIL": url})

    assert settings.smtp_url == MailServer(
        host="mail.example", port=587, sender="jobs@example.com", user="ada", password="pear@soup"
    )
    assert "pear" not in repr(settings)
    encrypted = MailServer.parse("smtps://mail.example?from=jobs@example.com")
    assert (encrypted.port, encrypted.is_tls, encrypted.user) == (465, True, None)


@pytest.mark.parametrize(
    "url",
    [
        "mail.example:587?from=a@b",
        "https://mail.example?from=a@b",
        "smtp://?from=a@b",
        "smtp://ada:hunter2@mail.example",
        "smtp://ada@mail.example:hunter2?from=a@b",
    ],
)
def test_a_mail_server_that_is_none_is_named_but_not_shown(url: str) -> None:
    with pytest.raises(SettingsError, match="OUTLAST_SMTP_URL") as caught:
        ServerSettings.from_environment(BASE | {"OUTLAST_SMTP_URL": url})

    assert "hunter2" not in str(caught.value)
