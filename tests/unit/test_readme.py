"""What the README shows works as it stands there."""

import re
from pathlib import Path

from outlast.worker.findings import find
from outlast.worker.settings import load_settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


async def test_the_readmes_task_is_discovered(tmp_path: Path) -> None:
    """Pasted into the file that the text names, without a warning."""
    block = re.search(r"```python\n(from outlast .*?)```", README, re.DOTALL)
    assert block is not None
    (tmp_path / "trigger").mkdir()
    (tmp_path / "trigger" / "welcome.py").write_text(block[1])

    found = await find(load_settings(tmp_path, api_urls=["http://127.0.0.1"], secret_key=""))

    assert (found.errors, found.warnings) == ((), ())
    assert found.manifest is not None
    assert [task.id for task in found.manifest.tasks] == ["welcome"]


def test_every_link_of_the_readme_leads_somewhere() -> None:
    """Relative ones, that is."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)

    assert [link for link in links if not (ROOT / link).exists()] == []
