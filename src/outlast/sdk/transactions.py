"""What happens only when a transaction of Django commits."""

import importlib
from collections.abc import Callable

from outlast.sdk.errors import UsageError


def after_commit(call: Callable[[], None]) -> None:
    """Call when the transaction of the default database has committed; at once outside of one.

    Nothing is called after a rollback. Raises `UsageError` without Django.
    """
    try:
        transaction = importlib.import_module("django.db.transaction")
    except ModuleNotFoundError as error:
        raise UsageError(
            "on_commit=True follows the transaction of Django, which is not installed; commit "
            "first and trigger then, or pass connection= to write into the transaction itself"
        ) from error
    transaction.on_commit(call)
