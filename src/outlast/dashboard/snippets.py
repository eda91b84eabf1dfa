"""Code to be copied: how a task is triggered, and how a webhook is verified."""

import json

from outlast.dashboard.contracts import example
from outlast.protocol.activity import TaskDetail

VERIFYING = """\
import hashlib, hmac, os

def is_from_outlast(body: bytes, headers: dict[str, str]) -> bool:
    secret = os.environ["ALERT_SECRET"].encode()
    expected = hmac.new(secret, body, hashlib.sha256).hexdigest()
    signature = headers.get("x-trigger-signature-hmacsha256", "")
    return hmac.compare_digest(expected.encode(), signature.encode())"""
"""What verifies the webhook of an alert; the body as it came, before it is parsed."""


def snippets(task: TaskDetail) -> tuple[tuple[str, str], ...]:
    """Return titles and texts, with a payload that the task takes."""
    payload = example(task.payload_schema)
    given = "" if payload is None else repr(payload)
    text = json.dumps(payload, ensure_ascii=False).replace("'", "'\\''")
    module = task.file.removesuffix(".py").replace("/", ".")
    import_line = f"from {module} import {task.function}"
    by_id = ", ".join(filter(None, (repr(task.id), given)))
    request = (
        f"curl $TRIGGER_API_URL/api/v1/tasks/{task.id}/trigger",
        '-H "Authorization: Bearer $TRIGGER_SECRET_KEY"',
        "-H 'Content-Type: application/json'",
        f"-d '{{\"payload\": {text}}}'",
    )
    return (
        ("Python", f"{import_line}\n\nhandle = await {task.function}.trigger({given})"),
        ("By its id", f"from outlast import tasks\n\nhandle = await tasks.trigger({by_id})"),
        ("Terminal", f"outlast trigger {task.id} --payload '{text}'"),
        ("HTTP", " \\\n  ".join(request)),
    )
