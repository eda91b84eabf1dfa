"""The environment variables that user code may see: everything but the platform's own secrets."""

import os
import re
from collections.abc import Mapping

_OURS = frozenset(
    {
        "OUTLAST_SECRET_KEY",
        "OUTLAST_ACCESS_TOKEN",
        "OUTLAST_BOOTSTRAP_SECRET_KEY",
        "OUTLAST_DATABASE_URL",
        "OUTLAST_ENCRYPTION_KEYS",
        "TRIGGER_SECRET_KEY",
        "TRIGGER_ACCESS_TOKEN",
    }
)
_LEAST_SECRET = 8
"""Characters; what is shorter stands in too many lines by chance."""
_KEY = re.compile(r"\btr_[a-z]+_\w{8,}")


def executor_environment(
    secret_key: str, *, hash_seed: int | None = None, base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment of a process that runs user code.

    Every variable that holds an environment key goes, whatever its name: one compromised dependency
    of one task must not read every run. `hash_seed` makes sets iterate alike in all executors of a
    version.
    """
    source = os.environ if base is None else base
    kept = {
        name: value
        for name, value in source.items()
        if name not in _OURS and not _KEY.search(value) and not (secret_key and secret_key in value)
    }
    if hash_seed is not None:
        kept["PYTHONHASHSEED"] = str(hash_seed)
    return kept


def known_secrets(secret_key: str) -> tuple[str, ...]:
    """Return the platform's own secrets that this process holds: no log line may show them."""
    held = {secret_key, *(os.environ.get(name, "") for name in _OURS)}
    return tuple(secret for secret in held if len(secret) >= _LEAST_SECRET)


def hash_seed(digest: str) -> int:
    """Return the hash seed that all executors of a version share."""
    return int.from_bytes(digest.encode()[:16], "big") % (2**32 - 1) + 1
