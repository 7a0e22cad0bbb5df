"""Valid messages to start from: every decoder's, with all the fields that it knows."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from devices.catalogue import CONTEXT, FLAGS, KINDS, Number
from devices.times import format_instant, parse_instant

DEVICE = "dev-1"
PATIENT = "p-1"
NOW_MS = parse_instant("2026-11-22T07:31:20+01:00")[0]
DAY_MS = 86_400_000
PROTOCOLS = ("heart-failure", "hypertension", "diabetes", "arrhythmia", "respiratory", "anticoagulation")

VECTORS = Path(__file__).parents[1] / "devices" / "vectors" / "bluetooth.json"

READING_WORDS = [
    *KINDS, *(unit for kind in KINDS.values() for unit in kind.units), *sorted(FLAGS), *CONTEXT,
    *(word for words in CONTEXT.values() for word in words), *(name for kind in KINDS.values() for name in kind.values),
    "v", "device", "seq", "kind", "measured_at", "values", "unit", "flags", "context", "epoch", "oldest", "gatt",
    "value", "received_at", "patient", DEVICE, "2A35", "better", "much-worse", "A", "shock",
]  # fmt: skip

PLAN_WORDS = [
    *PROTOCOLS, *KINDS, "limit", "high", "medium", "systolic", "weight-gain-3d", "bp-personal", "no-reading",
    "Europe/Paris", "Indian/Reunion", "UTC", "Nowhere/Land", "Europe", "posixrules", "protocol", "version", "from",
    "to", "document", "limits", "schedule", "inr_target", "dry_weight_kg", "every_hours", "overdue_hours", "1.0",
]  # fmt: skip


def number(kind: str, name: str, rng: Random) -> Any:
    """A value that a kind accepts, at its edges now and then."""
    spec = KINDS[kind].values[name]
    words = getattr(spec, "words", None)
    if words is not None:
        return rng.choice(words)
    if not isinstance(spec, Number):
        return rng.random() < 0.5
    low, high = spec.low, spec.high
    if spec.whole:
        return rng.randint(int(low), int(high))
    value = rng.choice([low, high, rng.uniform(low, high), rng.triangular(low, high)])
    return round(value, rng.choice([0, 1, 2, 15]))


def values(kind: str, rng: Random) -> dict[str, Any]:
    """The values of a reading of a kind."""
    if kind == "rr-intervals":
        return {
            "rr": [
                round(rng.gauss(800, rng.choice([5, 80, 300])) % 3_000, 1)
                for _ in range(rng.choice([1, 40, 300]))
            ]
        }
    if kind == "ecg":
        return strip(rng)
    specs = KINDS[kind].values
    chosen = {
        name: number(kind, name, rng)
        for name, spec in specs.items()
        if not spec.optional or rng.random() < 0.4
    }
    if not chosen:
        chosen["dyspnoea"] = 1
    if kind == "blood-pressure":
        chosen["systolic"] = max(chosen["systolic"], chosen["diastolic"])
    return chosen


def strip(rng: Random) -> dict[str, Any]:
    """A short strip of ECG, in millivolts or in counts, sometimes at a rate that no device has."""
    fs = rng.choice(
        [100, 125, 200, 250, 300, 360, 500, 512, 1000, 128.5, 25, 10_000, 33.3, 25.000001, 9_999.99]
    )
    n = rng.choice([1, 2, 3, 10, 50, 300, 2_000, 2_500])
    wave = rng.choice([0.0, 0.01, 1.0, 400.0])
    beat = max(1, int(fs * rng.choice([0.3, 0.8, 1.5])))
    samples = [round(wave * ((i % beat == 0) + rng.gauss(0, 0.05)), 4) for i in range(n)]
    if rng.random() < 0.5:
        return {"fs": fs, "samples": samples}
    gain = rng.choice([0.001, 1, 200, 1000.5, 1e6])
    counts = b"".join(
        max(-32768, min(32767, int(s * gain))).to_bytes(2, "little", signed=True) for s in samples
    )
    return {"fs": fs, "samples_i16": base64.b64encode(counts).decode(), "gain": gain}


def reading(rng: Random, kind: str | None = None) -> dict[str, Any]:
    """A reading that is accepted, or nearly: its unit may not suit its numbers."""
    name = kind or rng.choice([k for k in KINDS for _ in range(1 if k == "ecg" else 6)])
    back_ms = rng.choice([0, 15_000, 3_600_000, DAY_MS, 13 * DAY_MS, 36 * DAY_MS, -600_000])
    found: dict[str, Any] = {
        "v": 1,
        "device": DEVICE,
        "seq": rng.choice([0, 1, 7, rng.randrange(1_000), 2**53]),
        "kind": name,
        "measured_at": format_instant(NOW_MS - back_ms, rng.choice([0, 60, -300, 765, 1080, -1080])),
        "values": values(name, rng),
    }
    if rng.random() < 0.3 and KINDS[name].units:
        found["unit"] = rng.choice(KINDS[name].units)
    if rng.random() < 0.2:
        found["flags"] = rng.sample(sorted(FLAGS), rng.choice([0, 1, 2, len(FLAGS)]))
    if rng.random() < 0.3:
        found["context"] = {key: rng.choice(words) for key, words in CONTEXT.items() if rng.random() < 0.5}
    if rng.random() < 0.1:
        found["epoch"] = rng.choice([0, 1, 2**53])
    if rng.random() < 0.1:
        found["oldest"] = rng.randint(0, found["seq"])
    return found


@cache
def octets() -> tuple[tuple[str, bytes], ...]:
    """(characteristic, payload) of recorded and published Bluetooth messages."""
    found: list[tuple[str, bytes]] = []

    def look(node: Any) -> None:
        if isinstance(node, dict):
            name = next((str(v) for k, v in node.items() if k in ("characteristic", "gatt", "uuid")), None)
            data = next((str(v) for k, v in node.items() if k in ("payload", "hex", "bytes", "value")), None)
            if name and data:
                found.append((name, bytes.fromhex(data)))
            for child in node.values():
                look(child)
        elif isinstance(node, list):
            for child in node:
                look(child)

    look(json.loads(VECTORS.read_text()))
    return tuple(found)


def gatt(rng: Random) -> dict[str, Any]:
    """What a gateway forwards of a Bluetooth device, its bytes whole or changed."""
    name, data = rng.choice(octets())
    changed = bytearray(data)
    for _ in range(rng.choice([0, 0, 1, 1, 3])):
        if changed:
            changed[rng.randrange(len(changed))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    if rng.random() < 0.2:
        changed = changed[: rng.randint(0, len(changed))]
    if rng.random() < 0.1:
        changed += rng.randbytes(rng.choice([1, 8, 600]))
    from devices.bluetooth.translate import CHARACTERISTICS

    return {
        "v": 1,
        "device": DEVICE,
        "seq": rng.randrange(1_000),
        "gatt": name if rng.random() < 0.9 else rng.choice(CHARACTERISTICS),
        "value": base64.b64encode(bytes(changed)).decode(),
        "received_at": format_instant(NOW_MS - rng.choice([0, 60_000, DAY_MS]), rng.choice([0, 60, -1080])),
    }


def payload(rng: Random) -> Any:
    """One reading, what a Bluetooth device said, or an array of both."""

    def one() -> Any:
        return reading(rng) if rng.random() < 0.85 else gatt(rng)

    if rng.random() < 0.6:
        return one()
    return [one() for _ in range(rng.choice([0, 1, 2, 3, 5, 12]))]


def line(rng: Random, kind: str | None = None) -> dict[str, Any]:
    """A line of a file of readings."""
    found = reading(rng, kind) | {"patient": rng.choice([PATIENT, "p-2"])}
    if rng.random() < 0.5:
        found["received_at"] = format_instant(NOW_MS)
    return found


def receipt(rng: Random) -> dict[str, Any]:
    """What a device is told."""
    return {
        "epoch": rng.choice([0, 0, 0, 1]),
        "through": rng.choice([-1, 0, 3, 12, 2**53, None]),
        "also": [sorted((rng.randrange(25), rng.randrange(25))) for _ in range(rng.choice([0, 1, 3]))],
        "rejected": [
            {"seq": rng.choice([None, rng.randrange(25)]), "reason": rng.choice(["not-json", "bad-time"])}
            for _ in range(rng.choice([0, 1, 3]))
        ],
    }


def status(rng: Random) -> dict[str, Any]:
    return {
        "state": rng.choice(["online", "offline"]),
        "battery": rng.choice([0, 55, 100]),
        "firmware": "1.0 (α)",
    }


def plan_version(rng: Random, version: int = 1) -> dict[str, Any]:
    """One version of a care plan, with everything that one can say."""
    found: dict[str, Any] = {
        "version": version,
        "from": format_instant(NOW_MS - rng.choice([0, 3, 40, 400]) * DAY_MS, rng.choice([0, 60])),
        "protocols": rng.sample(PROTOCOLS, rng.randint(0, len(PROTOCOLS))),
        "author": "dr-1",
        "time_zone": rng.choice(["Europe/Paris", "Indian/Reunion", "Pacific/Apia", "UTC"]),
    }
    if rng.random() < 0.4:
        found["limits"] = {
            "heart-failure": {"weight-gain-3d": {"limit": rng.choice([1.5, 2.5])}},
            "hypertension": {"bp-crisis": {"systolic": 190}},
        }
    kinds = sorted({kind for name in found["protocols"] for kind in schedules()[name]})
    if rng.random() < 0.6 and kinds:
        found["schedule"] = {
            kind: {"every_hours": rng.choice([0.1, 12, 24]), "overdue_hours": rng.choice([None, 48])}
            for kind in rng.sample(kinds, rng.randint(1, min(3, len(kinds))))
        }
    if rng.random() < 0.5:
        found |= {
            "dry_weight_kg": 80.5,
            "known_atrial_fibrillation": rng.random() < 0.5,
            "pregnancy": rng.random() < 0.5,
            "spo2_scale": rng.choice([1, 2]),
            "inr_target": [2.0, 3.0],
            "mechanical_valve": rng.random() < 0.5,
        }
    return found


@cache
def schedules() -> dict[str, list[str]]:
    """The kinds that each protocol of the release schedules."""
    import tomllib

    documents = map(tomllib.loads, protocol_texts())
    return {document["name"]: list(document.get("schedule", {})) for document in documents}


def care_plan(rng: Random) -> dict[str, Any]:
    return {
        "v": 1,
        "patient": PATIENT,
        "care_team": "caen",
        "versions": [plan_version(rng, n) for n in range(1, rng.choice([1, 2, 2, 4]) + 1)],
    }


@cache
def protocol_texts() -> tuple[str, ...]:
    """The protocol files of the release."""
    from importlib import resources

    folder = resources.files("streams.protocols")
    return tuple(
        entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda e: e.name)
        if entry.name.endswith(".toml")
    )


def protocol_version(rng: Random) -> dict[str, Any]:
    """A version of a protocol as `scad.care-plans` carries it, its document parsed."""
    import tomllib

    document = tomllib.loads(rng.choice(protocol_texts()))
    names = [name for name in document["rules"] if name != "no-reading"]
    for name in rng.sample(names, len(names) - min(len(names), rng.choice([1, 2, 3]))):
        del document["rules"][name]
    return {
        "v": 1,
        "protocol": document["name"],
        "version": document["version"],
        "from": format_instant(NOW_MS - rng.choice([0, 10]) * DAY_MS),
        "document": document,
        "author": "dr-1",
    }


def assignments(rng: Random) -> dict[str, Any]:
    return {
        "v": 1,
        "device": DEVICE,
        "intervals": [
            {
                "device": DEVICE,
                "patient": PATIENT,
                "from": format_instant(NOW_MS - DAY_MS * rng.randrange(100)),
                "to": rng.choice([None, format_instant(NOW_MS + DAY_MS)]),
            }
            for _ in range(rng.randrange(4))
        ],
    }


def enrolment(rng: Random) -> dict[str, Any]:
    """A file for `scad enrol` with a patient or two."""
    return {
        "care_teams": [{"care_team": "caen", "name": "Caen", "time_zone": "Europe/Paris"}],
        "patients": [
            {
                "patient": f"p-{n}",
                "care_team": "caen",
                "identity": {
                    "family_name": "Exemple",
                    "given_names": "Anne",
                    "birth_date": "1950-02-28",
                    "sex": "female",
                    "phone": "0199000000",
                    "ins": {"value": "255069935500080", "oid": "1.2.250.1.213.1.4.10"},
                },
                "devices": [
                    {"device": f"sc-{n}", "from": "2026-01-01T00:00:00+01:00", "to": None, "model": "m"}
                ],
                "care_plan": plan_version(rng),
            }
            for n in range(rng.choice([1, 2]))
        ],
    }
