"""What a scheduled run receives."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

UPCOMING = 5
"""How many coming ticks a payload names."""


class ScheduledPayload(BaseModel):
    """The payload of a scheduled run. Moments are in UTC and nominal: no window is in them."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    schedule_id: str
    type: Literal["DECLARATIVE", "IMPERATIVE"]
    timestamp: AwareDatetime
    last_timestamp: AwareDatetime | None = None
    external_id: str | None = None
    timezone: str = "UTC"
    upcoming: tuple[AwareDatetime, ...] = ()
