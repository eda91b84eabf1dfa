"""Machine presets, and their replacements."""

import pytest

from outlast.protocol.machines import PRESETS, presets


def test_a_preset_may_be_replaced_by_a_setting() -> None:
    found = presets('{"small-1x": {"cpu": 1, "memory": 0.75}}')

    assert found["small-1x"].bytes == 768 * 1024**2
    assert found["micro"] == PRESETS["micro"]
    assert presets("") is PRESETS


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not valid"),
        ('{"huge": {"cpu": 1, "memory": 1}}', "'huge' does not exist"),
        ('{"micro": {"cpu": 0, "memory": 1}}', "above 0"),
        ('{"micro": {"cpu": 1, "ram": 1}}', "ram"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        presets(text)
