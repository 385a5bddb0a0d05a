"""What the JSON bodies of all doors have in common."""

from pydantic import BaseModel, ConfigDict


class StrictBody(BaseModel):
    """A request's JSON body: an unknown field is refused, and no value is turned into another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
