"""The base of values that cross a file. Frozen, and unknown keys are errors."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value with one JSON form."""

    model_config = ConfigDict(frozen=True, extra="forbid")
