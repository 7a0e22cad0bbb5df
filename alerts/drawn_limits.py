"""The limits that the patient's dashboard draws: from the published protocols, as rows of an SQL `values` list.

Only limits on what was measured: one on a change, a score or a share has no place on the curve (the gain in three
days has a query of its own). A patient's own limit, where the care plan in force has one, replaces the standard.
"""

from __future__ import annotations

from dataclasses import dataclass

from streams.protocols import load_published

# (protocol, rule, level, channel) and the kind of reading on whose curve it lies.
_DRAWN: dict[tuple[str, str, str, str], str] = {
    ("hypertension", "bp-crisis", "high", "systolic"): "blood-pressure",
    ("hypertension", "bp-crisis", "high", "diastolic"): "blood-pressure",
    ("hypertension", "bp-high", "without-symptoms", "systolic"): "blood-pressure",
    ("hypertension", "bp-low", "twice", "systolic"): "blood-pressure",
    ("diabetes", "glucose-very-low", "capillary", "value"): "glucose",
    ("diabetes", "glucose-low", "capillary", "value"): "glucose",
    ("diabetes", "glucose-high", "medium", "value"): "glucose",
    ("diabetes", "glucose-very-high", "capillary", "value"): "glucose",
    ("arrhythmia", "tachycardia", "without-symptoms", "value"): "heart-rate",
    ("arrhythmia", "bradycardia", "without-symptoms", "value"): "heart-rate",
    ("respiratory", "spo2-low", "low", "value"): "oxygen-saturation",
    ("respiratory", "spo2-low", "reduced", "value"): "oxygen-saturation",
    ("respiratory", "temperature", "very-high", "value"): "temperature",
    ("respiratory", "temperature", "fever", "value"): "temperature",
    ("respiratory", "temperature", "very-low", "value"): "temperature",
    ("heart-failure", "dry-weight", "medium", "excess"): "body-weight",
    ("heart-failure", "dry-weight", "high", "excess"): "body-weight",
    ("anticoagulation", "inr-high", "from-four", "inr"): "inr",
    ("anticoagulation", "inr-critical", "inr", "inr"): "inr",
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """`names`: under which of them a care plan may set the limit. `level` is the protocol's own; on top of the
    dry weight where the rule is about the excess over it."""

    protocol: str
    rule: str
    label: str
    kind: str
    level: float
    names: tuple[str, ...]


def drawn_limits() -> tuple[Drawn, ...]:
    """Raises KeyError when a protocol no longer has a limit named here."""
    library = load_published()
    found = []
    for (protocol, name, level_name, channel), kind in _DRAWN.items():
        rule = next(r for r in library.protocols[protocol].rules if r.name == name)
        level = next(entry for entry in rule.levels if entry.name == level_name)
        if rule.statistic is None:
            raise KeyError(f"{protocol}/{name} is not about a measurement any more: mend _DRAWN")
        index = rule.statistic.channels.index(channel)
        limit = level.limits[index]
        if limit is None:
            raise KeyError(f"{protocol}/{name}/{level_name} has no limit of {channel} any more: mend _DRAWN")
        label = f"{name} {channel}" if kind == "blood-pressure" else f"{name} {level_name}"
        found.append(Drawn(protocol, name, label, kind, limit, rule.names(level, index)))
    return tuple(found)


def limit_rows() -> str:
    """Rows (protocol, rule, label, kind, standard, names) for `values`."""
    rows = []
    for one in drawn_limits():
        names = ",".join(f"'{name}'" for name in one.names)
        rows.append(
            f"('{one.protocol}', '{one.rule}', '{one.label}', '{one.kind}', {one.level!r}::float8,"
            f" array[{names}]::text[])"
        )
    return ",\n           ".join(rows)


def rhythm_rows() -> str:
    """Rows (protocol, kind, every_hours, expected): what protocols ask for where a plan is silent."""
    return ",\n           ".join(
        f"('{name}', '{kind}', {usual.every_hours!r}::float8, '{usual.expected}')"
        for name, protocol in sorted(load_published().protocols.items())
        for kind, usual in protocol.schedule.items()
    )
