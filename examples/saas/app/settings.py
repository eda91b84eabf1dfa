"""The boundary to the environment: read once, checked, typed. Nothing else reads `os.environ`."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the example; relative paths in the settings start here."""


class SettingsError(Exception):
    """The environment does not fit; the message names every variable that is missing or wrong."""


def _starts_with(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        if urlsplit(url).scheme not in schemes:
            raise ValueError(f"must start with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return url

    return AfterValidator(check)


def _root_key(key: SecretStr) -> SecretStr:
    if not key.get_secret_value().startswith("tr_"):
        raise ValueError("must start with tr_ (each environment has a key of its own)")
    return key


def _project_ref(ref: str) -> str:
    if not ref.startswith("proj_"):
        raise ValueError("must start with proj_")
    return ref


PostgresUrl = Annotated[str, _starts_with("postgresql", "postgres")]
HttpUrl = Annotated[str, _starts_with("http", "https")]
Secret = Annotated[SecretStr, Field(min_length=16)]


class Settings(BaseModel):
    """What the app needs to know. A field's name in capitals is its variable."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: PostgresUrl
    database_owner_url: PostgresUrl | None = None  # only scripts have it
    database_pool_size: int = Field(default=5, ge=1, le=100)
    trigger_secret_key: Annotated[SecretStr, AfterValidator(_root_key)] | None = None
    trigger_project_ref: Annotated[str, AfterValidator(_project_ref)] | None = None
    app_name: str = "Northwind Billing"
    app_url: HttpUrl = "http://localhost:3000"
    session_secret: Secret
    invitation_signing_secret: Secret
    cron_secret: Secret
    payments_url: HttpUrl = "http://127.0.0.1:4100/payments"
    payments_secret_key: Secret
    payments_webhook_secret: Secret
    analytics_url: HttpUrl = "http://127.0.0.1:4100/analytics"
    smtp_url: Annotated[str, _starts_with("smtp")] = "smtp://127.0.0.1:2525"
    email_from: str = "Northwind Billing <billing@northwind.example>"
    email_reply_to: str = "support@northwind.example"
    export_dir: Path = Path(".outlast/exports")
    export_page_pause: float = Field(default=0.0, ge=0.0, le=60.0)
    worker_pid_file: Path = Path(".outlast/worker.pid")
    mailbox_dir: Path = Path(".outlast/mail")

    @property
    def export_folder(self) -> Path:
        """`export_dir`, absolute: a worker may be started from anywhere."""
        return ROOT / self.export_dir

    @property
    def mailbox_folder(self) -> Path:
        """`mailbox_dir`, absolute."""
        return ROOT / self.mailbox_dir

    @property
    def worker_pid_path(self) -> Path:
        """`worker_pid_file`, absolute."""
        return ROOT / self.worker_pid_file


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Check `environ`; an empty variable counts as unset. Raises `SettingsError`."""
    given = {
        name: environ[name.upper()] for name in Settings.model_fields if environ.get(name.upper())
    }
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        faults = "; ".join(_fault(str(item["loc"][0]), item["msg"]) for item in error.errors())
        raise SettingsError(f"{faults}. see .env.example for every variable") from None


def read_env_file(path: Path) -> dict[str, str]:
    """Read `NAME=value` lines; comments and blank lines are skipped, quotes around a value go."""
    if not path.is_file():
        return {}
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


@cache
def settings() -> Settings:
    """Return the settings of this process: the environment, and `.env` for what it lacks."""
    return read_settings({**read_env_file(ROOT / ".env"), **os.environ})


def _fault(field: str, message: str) -> str:
    said = "is missing" if message == "Field required" else message.removeprefix("Value error, ")
    return f"{field.upper()} {said}"
