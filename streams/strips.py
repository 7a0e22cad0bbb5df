"""What `scad ecg` prints: one line for each strip of ECG, in the order of the file's lines."""

from __future__ import annotations

from typing import Any

import msgspec

from devices.content import content_number
from devices.decode import ecg_samples
from devices.readings import Reading
from devices.times import format_instant
from streams.signals.ecg import analyse

_encode = msgspec.json.Encoder().encode


class Strips:
    """Analyses strip by strip; remembers of each only who it is, so that a repeated line prints nothing.

    That is some 150 bytes a strip beside the strip at hand: a million strips of 30 s are a year of
    uninterrupted recording.
    """

    def __init__(self) -> None:
        self._seen: set[tuple[str, int, int, int]] = set()

    def line(self, reading: Reading) -> bytes | None:
        """The strip's line as JSON without line end; None for other kinds and for repeats."""
        if reading.kind != "ecg":
            return None
        who = (*reading.identity, content_number(reading))
        if who in self._seen:
            return None
        self._seen.add(who)
        return _encode(describe(reading))


def describe(reading: Reading) -> dict[str, Any]:
    """The fields of `scad ecg` (contract, appendix). A strip whose device said that it is no good (an artefact
    gate) is unreadable however it looks; its beats are listed all the same."""
    fs = float(reading.values["fs"])
    strip = analyse(ecg_samples(reading.values), fs)
    return {
        "patient": reading.patient,
        "device": reading.device,
        "seq": reading.seq,
        "measured_at": format_instant(reading.measured_at_ms, reading.offset_min),
        "fs": int(fs) if fs.is_integer() else fs,
        "beats": strip.beats.tolist(),
        "heart_rate": None if strip.heart_rate is None else round(strip.heart_rate, 2),
        "quality": round(strip.quality, 3),
        "rhythm": "unreadable" if reading.artefact else strip.rhythm,
    }
