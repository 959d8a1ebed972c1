"""What is said of a key: what it does, its unit, its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Form(Enum):
    """How the text of a value is to be read where its type does not say it."""

    PLAIN = "plain"
    OCTAL = "octal"  # permission bits
    MODEL = "model"  # `campplus`, a hub id, or a folder
    SOURCE = "source"  # `microphone`, `-`, or a file


@dataclass(frozen=True, slots=True)
class Setting:
    """What is said of a key in `Annotated[type, Setting(...)]`. Bounds are inclusive and hold for numbers only."""

    help: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str | int, ...] = ()
    form: Form = Form.PLAIN


@dataclass(frozen=True, slots=True)
class Section:
    """What is said of a section."""

    help: str
