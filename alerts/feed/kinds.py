"""What the pages need to know of a kind of reading beyond its texts."""

from __future__ import annotations

from devices.catalogue import KINDS

# Kinds that are one number over time, in the order of a patient's page; strips and answers to questions are
# listed, not drawn.
CURVE_KINDS: tuple[str, ...] = (
    "body-weight",
    "blood-pressure",
    "heart-rate",
    "glucose",
    "oxygen-saturation",
    "temperature",
    "respiratory-rate",
    "inr",
    "ketones",
)


def unit_of(kind: str) -> str:
    """The canonical unit of a kind in UCUM; empty for a kind without numbers or unknown to this release."""
    known = KINDS.get(kind)
    return known.units[0] if known is not None and known.units else ""
