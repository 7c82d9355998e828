"""What goes over the wire, and what of it is refused."""

import unicodedata
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

LONGEST_NAME = 64
UUID = "[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
HOLDING = "^([0-9]{1,19}(,[0-9]{1,19}){0,99})?$"
"""Ids of queries, as in `7,8`."""
State = Literal["ready", "waiting", "done", "paused"]


def named(name: str) -> str:
    """The name of a labeller; raises ValueError for what is none."""
    name = name.strip()
    if not 1 <= len(name) <= LONGEST_NAME:
        raise ValueError(f"a labeller's name has 1 to {LONGEST_NAME} characters")
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        raise ValueError("a labeller's name has no control characters")
    return name


def _preference(value: float | None) -> float | None:
    if value not in (1, 0, 0.5, None):
        raise ValueError("a preference is 1, 0, 0.5 or null")
    return value


Name = Annotated[
    str,
    AfterValidator(named),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": LONGEST_NAME}),
]
Key = Annotated[str, Field(pattern=f"^{UUID}$", json_schema_extra={"format": "uuid"})]
Preference = Annotated[float | None, AfterValidator(_preference), WithJsonSchema({"enum": [1, 0, 0.5, None]})]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Answer(_Strict):
    """One answer; 1: the one shown left is better, null: cannot tell."""

    id: Key
    query: int = Field(ge=1, lt=2**63)
    preference: Preference
    labeller: Name
    seconds: float = Field(ge=0, le=86400)
    broken: bool = False
    """Whether a clip could not be played: then there is no preference."""

    @model_validator(mode="after")
    def _broken_is_no_preference(self) -> Self:
        if self.broken and self.preference is not None:
            raise ValueError("what could not be seen has preference null")
        return self


class Undo(_Strict):
    """Takes the newest answer back."""

    id: Key
    labeller: Name


class Side(BaseModel):
    """What is shown on one side: a clip or a text."""

    clip: str | None = None
    text: str | None = None


class Pair(BaseModel):
    query: int
    left: Side
    right: Side
    prompt: str | None


class Next(BaseModel):
    pairs: list[Pair]
    state: State
    message: str | None


class Kept(BaseModel):
    id: str
    query: int


class Undone(BaseModel):
    undone: Pair | None


class Learned(BaseModel):
    version: int
    labels: int
    accuracy: float | None
    seconds_ago: float | None
    """None: it is not known."""


class Progress(BaseModel):
    done: int
    wanted: int
    yours: int
    per_minute: float
    learned: Learned | None
    state: State
    message: str | None


class Trouble(BaseModel):
    """Why a request was refused."""

    detail: str


def troubles(*codes: int) -> dict[int | str, dict[str, Any]]:
    """For the description of the interface."""
    return {code: {"model": Trouble} for code in codes}
