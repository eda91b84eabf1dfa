"""The environment variables that user code may see: everything but the platform's own secrets.

What is stored on the server comes beside what the worker was started with. Deployed, the stored
value wins; in the dev environment the developer's machine does, with its `.env` files.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from outlast.protocol.dotenv import DotenvError, parse

_OURS = frozenset(
    {
        "OUTLAST_SECRET_KEY",
        "OUTLAST_ACCESS_TOKEN",
        "OUTLAST_BOOTSTRAP_SECRET_KEY",
        "OUTLAST_DATABASE_URL",
        "OUTLAST_ENCRYPTION_KEYS",
        "OUTLAST_S3_SECRET_KEY",
        "OUTLAST_SMTP_URL",
        "TRIGGER_SECRET_KEY",
        "TRIGGER_ACCESS_TOKEN",
    }
)
_LEAST_SECRET = 8
"""Characters; what is shorter stands in too many lines by chance."""
_KEY = re.compile(r"\btr_[a-z]+_\w{8,}")
_DEV_KEY = "tr_dev_"
FILES = (".env", ".env.development", ".env.local", ".env.development.local")
"""What a developer keeps beside the code; of a name in several the last counts."""


class Stored(msgspec.Struct, frozen=True):
    """The variables of the environment on the server; `secrets` are names."""

    revision: int = 0
    values: Mapping[str, str] = {}
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Stored(revision={self.revision})"


def executor_environment(
    secret_key: str,
    *,
    hash_seed: int | None = None,
    base: Mapping[str, str] | None = None,
    stored: Stored | None = None,
    root: Path | None = None,
) -> dict[str, str]:
    """Return the environment of a process that runs user code.

    Every variable of this machine that holds an environment key goes, whatever its name: one
    compromised dependency of one task must not read every run. `hash_seed` makes sets iterate alike
    in all executors of a version. `root` is the project, whose files count in development.
    """
    source = dict(os.environ if base is None else base)
    values = {} if stored is None else stored.values
    if is_development(secret_key):
        kept = {**values, **_harmless({**local_variables(root)[0], **source}, secret_key)}
    else:
        kept = {**_harmless(source, secret_key), **values}
    if hash_seed is not None:
        kept["PYTHONHASHSEED"] = str(hash_seed)
    return kept


def is_development(secret_key: str) -> bool:
    """Return whether a key opens a dev environment, where the developer's machine counts most."""
    return secret_key.startswith(_DEV_KEY)


def local_variables(root: Path | None) -> tuple[dict[str, str], list[str]]:
    """Return what the `.env` files of a project say, and what is wrong with those left out."""
    found: dict[str, str] = {}
    faults: list[str] = []
    if root is None:
        return found, faults
    for name in FILES:
        try:
            found |= parse((root / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{name} cannot be read: {type(error).__name__}")
        except DotenvError as error:
            faults.append(f"{name} is ignored: {error}")
    return found, faults


def _harmless(variables: Mapping[str, str], secret_key: str) -> dict[str, str]:
    return {
        name: value
        for name, value in variables.items()
        if name not in _OURS and not _KEY.search(value) and not (secret_key and secret_key in value)
    }


def known_secrets(secret_key: str, stored: Stored) -> tuple[str, ...]:
    """Return the secrets that this process holds or hands on: no log line may show them.

    What is printed arrives line by line, so each line of a secret counts as one.
    """
    held = {secret_key, *(os.environ.get(name, "") for name in _OURS)}
    held |= {stored.values[name] for name in stored.secrets if name in stored.values}
    held |= {line.strip() for secret in held for line in secret.splitlines()}
    return tuple(secret for secret in held if len(secret) >= _LEAST_SECRET)


def hash_seed(digest: str) -> int:
    """Return the hash seed that all executors of a version share."""
    return int.from_bytes(digest.encode()[:16], "big") % (2**32 - 1) + 1
