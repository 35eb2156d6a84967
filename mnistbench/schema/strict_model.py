"""What every part of a record is: strict, frozen, and never NaN."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """Part of a record; a value that was not measured is ``None``.

    What is made here has no unknown keys; a reader passes over those of a newer release.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)
