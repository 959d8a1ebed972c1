"""The description of a setting: what it does, its unit and its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Form(Enum):
    """How the text of a value is read, where its type alone does not determine it."""

    PLAIN = "plain"
    OCTAL = "octal"  # permission bits
    MODEL = "model"  # `auto`, `campplus`, a hub id, or a folder
    HUB_ID = "hub id"
    SOURCE = "source"  # `microphone`, `-`, or a file


@dataclass(frozen=True, slots=True)
class Setting:
    """The description of a key, in `Annotated[type, Setting(...)]`. Bounds are inclusive and apply to numbers only."""

    help: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str | int, ...] = ()
    form: Form = Form.PLAIN


@dataclass(frozen=True, slots=True)
class Section:
    """The description of a section."""

    help: str
