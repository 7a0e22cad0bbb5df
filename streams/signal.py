"""The alert signal (contract section 3): what the engine says, and how signals fold into episodes."""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["high", "medium", "low"]
State = Literal["raised", "updated", "cleared"]
AlertClass = Literal["clinical", "technical"]

SEVERITY_RANK: dict[str, int] = {"low": 1, "medium": 2, "high": 3}


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reading that decided. `value` is the number (or text) that was compared, in canonical units."""

    device: str
    seq: int
    measured_at: str
    value: float | str | None = None
    epoch: int = 0
    kind: str = ""


class AlertSignal(msgspec.Struct, frozen=True, kw_only=True):
    """One step in an alert's life, as it stands in `scad.alerts`.

    `n` numbers the signals of one patient from 1 without a gap: the same signal sent again has the
    same number, so whoever stores signals keeps (patient, n) once and in order.
    """

    alert: str
    patient: str
    protocol: str
    protocol_version: str
    rule: str
    cls: AlertClass = msgspec.field(name="class")
    severity: Severity
    state: State
    at: str
    explanation: dict[str, str]
    value: float | None = None
    limit: float | None = None
    unit: str | None = None
    late: bool = False
    evidence: tuple[Evidence, ...] = ()
    reason: str | msgspec.UnsetType = msgspec.UNSET
    supersedes: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    n: int = 0
    v: int = 1


class StandingEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `scad replay --standing` (contract, appendix)."""

    alert: str
    patient: str
    protocol: str
    rule: str
    cls: AlertClass = msgspec.field(name="class")
    severity: Severity
    start: str
    last: str
    end: str | None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AlertSignal)


def encode_signal(signal: AlertSignal | StandingEpisode) -> bytes:
    return _encoder.encode(signal)


def decode_signal(message: bytes) -> AlertSignal:
    return _decoder.decode(message)


def fold(standing: dict[str, StandingEpisode], signal: AlertSignal) -> None:
    """Apply one signal to the episodes that stand, by alert.

    A signal that clears with a reason says that there was no cause: the episode is gone from what
    stands (the feed keeps it in the history).
    """
    if signal.state == "cleared" and signal.reason is not msgspec.UNSET:
        standing.pop(signal.alert, None)
        return
    before = standing.get(signal.alert)
    if signal.state == "cleared":
        if before is not None:
            standing[signal.alert] = msgspec.structs.replace(before, end=signal.at, severity=signal.severity)
        return
    start = signal.at if before is None or signal.state == "raised" else before.start
    standing[signal.alert] = StandingEpisode(
        alert=signal.alert,
        patient=signal.patient,
        protocol=signal.protocol,
        rule=signal.rule,
        cls=signal.cls,
        severity=signal.severity,
        start=start,
        last=signal.at,
        end=None,
    )
