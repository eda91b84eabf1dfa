"""Django in an executor, which lives longer than a request and would keep connections too long."""

import logging
import sys

logger = logging.getLogger("outlast.worker")


def close_old_connections() -> None:
    """Close this thread's connections that are too old or broken, where a project uses Django."""
    conf, db = sys.modules.get("django.conf"), sys.modules.get("django.db")
    if conf is not None and db is not None and conf.settings.configured:
        try:
            db.close_old_connections()
        except Exception:  # the run that ended, or that begins, is not to blame for the last one's
            logger.exception("old connections of Django could not be closed")
