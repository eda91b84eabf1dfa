"""How a task is triggered: the same call in Python, in a terminal and by HTTP, to be copied."""

import json

from outlast.dashboard.contracts import example
from outlast.protocol.activity import TaskDetail


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
