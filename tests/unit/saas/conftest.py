"""Makes the example importable, as running it from its own folder does."""

import sys
from pathlib import Path

_EXAMPLE = str(Path(__file__).parents[3] / "examples" / "saas")

if _EXAMPLE not in sys.path:
    sys.path.append(_EXAMPLE)
