"""What a check has found."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["ok", "warning", "fault"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report. `part`: settings, mqtt, kafka, …; `remedy` is empty where nothing is to be done."""

    part: str
    state: State
    what: str
    remedy: str = ""


def fine(part: str, what: str) -> Finding:
    return Finding(part=part, state="ok", what=what)


def warning(part: str, what: str, remedy: str) -> Finding:
    """It works, and will not for ever."""
    return Finding(part=part, state="warning", what=what, remedy=remedy)


def fault(part: str, what: str, remedy: str) -> Finding:
    return Finding(part=part, state="fault", what=what, remedy=remedy)
