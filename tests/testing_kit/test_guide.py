"""What the guide about testing shows works as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "testing.md"


def test_the_guide_about_testing_works(tmp_path: Path) -> None:
    shown = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    for name, source in shown:
        (tmp_path / name).write_text(source)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:outlast", "-p", "outlast.testing.plugin",
         "-p", "no:cacheprovider", "-q", "-W", "error"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )  # fmt: skip

    assert "5 passed" in done.stdout, done.stdout + done.stderr
