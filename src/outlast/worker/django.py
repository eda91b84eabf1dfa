"""Django in an executor, which lives longer than a request and would keep connections too long."""

import sys


def close_old_connections() -> None:
    """Close this thread's connections that are too old or broken, where a project uses Django."""
    conf, db = sys.modules.get("django.conf"), sys.modules.get("django.db")
    if conf is not None and db is not None and conf.settings.configured:
        db.close_old_connections()
