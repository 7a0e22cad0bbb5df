"""Writes what the documentation takes from the code: tables of docs/firmware.md, and docs/asyncapi.yaml.

python docs/generate.py           write
python docs/generate.py --check   only compare; exit status 1 and a difference when something is stale
"""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path
from typing import Any

import yaml

import scad
from devices.bluetooth.translate import CHARACTERISTICS
from devices.catalogue import CONTEXT, FLAGS, KINDS, Kind, Number, Samples16, Series, Spec, Truth, Word
from devices.payload import MAX_PAYLOAD_BYTES, MAX_READINGS
from devices.quality import ARTEFACT_FLAGS
from devices.refusals import REASONS
from streams.receipts import MAX_RANGES, MAX_REJECTED
from streams.topics import MQTT_PREFIX

DOCS = Path(__file__).parent
SERIAL = "^[A-Za-z0-9._-]{1,64}$"
Json = dict[str, Any]


# ── tables of the firmware guide ──────────────────────────────────────────────────────────────────────


def number(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"


def allowed(spec: Spec) -> str:
    """What a value may be, in the canonical unit."""
    if isinstance(spec, Number):
        text = f"{number(spec.low)} to {number(spec.high)}" + (", whole" if spec.whole else "")
        if spec.narrower is not None:
            key, word, low, high = spec.narrower
            text += f"; {number(low)} to {number(high)} where `{key}` is `{word}`"
        return text
    if isinstance(spec, Truth):
        return "`true`, `false`"
    if isinstance(spec, Word):
        return " ".join(f"`{word}`" for word in spec.words)
    if isinstance(spec, Series):
        return f"array of 1 to {spec.most}, each {number(spec.low)} to {number(spec.high)}"
    return f"base64 of 1 to {spec.most} signed 16-bit counts, little-endian"


def unit_of(kind: Kind, spec: Spec) -> str:
    """The units that a value may be sent in, the default first."""
    if isinstance(spec, Number) and spec.converted:
        return " ".join(f"`{unit}`" for unit in kind.units)
    if isinstance(spec, (Number, Series)) and not spec.ucum.startswith("{") and spec.ucum != "":
        return f"`{spec.ucum}`"
    return "–"


def kinds_table() -> str:
    rows = ["| kind | value | meaning | allowed | unit | needed |", "| --- | --- | --- | --- | --- | --- |"]
    for kind in KINDS.values():
        for name, spec in kind.values.items():
            needed = "yes" if not spec.optional else ""
            rows.append(
                f"| `{kind.name}` | `{name}` | {spec.meaning} | {allowed(spec)} | {unit_of(kind, spec)} | {needed} |"
            )
    return "\n".join(rows)


def context_table() -> str:
    rows = ["| key | words |", "| --- | --- |"]
    return "\n".join(
        [
            *rows,
            *(f"| `{key}` | {' '.join(f'`{word}`' for word in words)} |" for key, words in CONTEXT.items()),
        ]
    )


FLAG_NOTES = {
    "clock-unset": "used; a technical alert says that the clock is wrong",
    "device-fault": "stored with a mark, and raises a technical alert at once",
}
MARKED = "stored with a mark, and raises no clinical alert"


def flags_table() -> str:
    rows = ["| flag | the reading is |", "| --- | --- |"]
    for flag in sorted(FLAGS):
        effect = FLAG_NOTES.get(flag, MARKED if flag in ARTEFACT_FLAGS else "used as any other")
        rows.append(f"| `{flag}` | {effect} |")
    return "\n".join(rows)


def reasons_table() -> str:
    rows = ["| reason | when |", "| --- | --- |"]
    return "\n".join([*rows, *(f"| `{reason}` | {when} |" for reason, when in REASONS.items())])


def gatt_list() -> str:
    return " ".join(f"`{name}`" for name in CHARACTERISTICS)


PARTS = {
    "kinds": kinds_table,
    "context": context_table,
    "flags": flags_table,
    "reasons": reasons_table,
    "gatt": gatt_list,
}


def with_tables(text: str) -> str:
    """The guide with each part between `<!-- NAME -->` and `<!-- end -->` made anew."""
    for name, part in PARTS.items():
        found = re.search(rf"<!-- {name}: .*?-->\n(.*?)\n<!-- end -->", text, re.DOTALL)
        if found is None:
            raise ValueError(f"firmware.md: the part {name} is missing")
        begin, end = found.span(1)
        text = f"{text[:begin]}\n{part()}\n{text[end:]}"
    return text


# ── AsyncAPI ──────────────────────────────────────────────────────────────────────────────────────────


def schema_of(kind: Kind, spec: Spec) -> Json:
    """JSON Schema of a value. A range is a constraint only where it does not depend on unit or context."""
    if isinstance(spec, Number):
        schema: Json = {"type": "integer" if spec.whole else "number", "description": spec.meaning}
        if spec.converted and (kind.conversions or spec.narrower):
            schema["description"] += f"; {allowed(spec).replace('`', '')} {kind.unit}"
        else:
            schema |= {"minimum": spec.low, "maximum": spec.high}
        return schema
    if isinstance(spec, Truth):
        return {"type": "boolean", "description": spec.meaning}
    if isinstance(spec, Word):
        return {"type": "string", "enum": list(spec.words), "description": spec.meaning}
    if isinstance(spec, Series):
        item = {"type": "number", "minimum": spec.low, "maximum": spec.high}
        return {
            "type": "array",
            "minItems": 1,
            "maxItems": spec.most,
            "items": item,
            "description": spec.meaning,
        }
    assert isinstance(spec, Samples16)  # noqa: S101 - the last of the five
    return {"type": "string", "contentEncoding": "base64", "description": spec.meaning}


def values_of(kind: Kind) -> Json:
    schema: Json = {
        "type": "object",
        "description": kind.meaning,
        "properties": {name: schema_of(kind, spec) for name, spec in kind.values.items()},
        "additionalProperties": False,
        "minProperties": 1,
    }
    if kind.required:
        schema["required"] = list(kind.required)
    return schema


def natural(description: str) -> Json:
    return {"type": "integer", "minimum": 0, "description": description}


IDENTITY: Json = {
    "v": {"const": 1},
    "device": {"type": "string", "pattern": SERIAL, "description": "the serial; equal to the MQTT user name"},
    "epoch": natural("raised by a device that has to count anew; 0 when absent"),
    "seq": natural("the reading's number, rising by one"),
    "oldest": natural("the lowest seq that the device still holds"),
}


def reading_of(kind: Kind) -> Json:
    properties: Json = {
        **IDENTITY,
        "kind": {"const": kind.name},
        "measured_at": {
            "type": "string",
            "format": "date-time",
            "description": "the device's clock, with an offset",
        },
        "values": {"$ref": f"#/components/schemas/values-{kind.name}"},
        "flags": {"type": "array", "items": {"$ref": "#/components/schemas/flag"}},
        "context": {"$ref": "#/components/schemas/context"},
    }
    if kind.units:
        properties["unit"] = {"enum": list(kind.units), "default": kind.unit, "description": "UCUM"}
    required = ["v", "device", "seq", "kind", "measured_at", "values"]
    return {"type": "object", "required": required, "properties": properties}


def forwarded() -> Json:
    properties: Json = {
        **IDENTITY,
        "gatt": {"enum": list(CHARACTERISTICS), "description": "the Bluetooth characteristic"},
        "value": {"type": "string", "contentEncoding": "base64", "description": "its bytes"},
        "received_at": {"type": "string", "format": "date-time", "description": "when the gateway heard it"},
    }
    required = ["v", "device", "seq", "gatt", "value", "received_at"]
    return {"type": "object", "required": required, "properties": properties}


def receipt() -> Json:
    span = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    rejected = {
        "type": "object",
        "required": ["seq", "reason"],
        "properties": {
            "seq": {"type": ["integer", "null"], "description": "null where it could not be read"},
            "reason": {"enum": list(REASONS)},
        },
    }
    return {
        "type": "object",
        "required": ["epoch", "through", "also", "rejected"],
        "properties": {
            "epoch": natural("the epoch that the numbers belong to"),
            "through": {"type": "integer", "minimum": -1, "description": "every seq up to this one is safe"},
            "also": {
                "type": "array",
                "maxItems": MAX_RANGES,
                "items": span,
                "description": "and these ranges",
            },
            "rejected": {"type": "array", "maxItems": MAX_REJECTED, "items": rejected},
        },
    }


STATUS: Json = {
    "type": "object",
    "required": ["state"],
    "properties": {
        "state": {"enum": ["online", "offline"]},
        "battery": {"type": "number", "minimum": 0, "maximum": 100, "description": "per cent"},
        "firmware": {"type": "string"},
    },
}


def channel(leaf: str, message: str, description: str) -> Json:
    return {
        "address": f"{MQTT_PREFIX}/{{device}}/{leaf}",
        "description": description,
        "parameters": {"device": {"description": "the device's serial, equal to its MQTT user name"}},
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
    }


def operation(action: str, leaf: str, summary: str, binding: Json) -> Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{leaf}"},
        "summary": summary,
        "bindings": {"mqtt": {"qos": 1, **binding}},
    }


def asyncapi() -> Json:
    readings = [{"$ref": f"#/components/schemas/reading-{name}"} for name in KINDS]
    one: Json = {"oneOf": [*readings, {"$ref": "#/components/schemas/reading-gatt"}]}
    schemas: Json = {"reading": one}
    schemas |= {f"reading-{name}": reading_of(kind) for name, kind in KINDS.items()}
    schemas |= {f"values-{name}": values_of(kind) for name, kind in KINDS.items()}
    schemas |= {
        "reading-gatt": forwarded(),
        "flag": {"enum": sorted(FLAGS)},
        "context": {
            "type": "object",
            "additionalProperties": False,
            "properties": {key: {"enum": list(words)} for key, words in CONTEXT.items()},
        },
        "status": STATUS,
        "receipt": receipt(),
    }
    reading = {"$ref": "#/components/schemas/reading"}
    many = {"type": "array", "minItems": 1, "maxItems": MAX_READINGS, "items": reading}
    json_message: Json = {"contentType": "application/json"}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "SCAD: what devices and the platform say to each other over MQTT",
            "version": scad.__version__,
            "description": (
                "Seen from a device: it sends readings and its status and receives receipts. "
                f"A payload has at most {MAX_PAYLOAD_BYTES // 1024} KiB. docs/firmware.md explains it in words."
            ),
            "license": {"name": "EUPL-1.2"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "mosquitto": {
                "host": "mqtt.example.org:8883",
                "protocol": "secure-mqtt",
                "protocolVersion": "5",
                "description": "MQTT 5 with TLS; 3.1.1 is accepted",
                "security": [{"$ref": "#/components/securitySchemes/account"}],
            }
        },
        "channels": {
            "readings": channel("readings", "readings", "one reading, or an array of them"),
            "status": channel("status", "status", "retained, and the last will"),
            "receipts": channel("receipts", "receipt", "what the platform has"),
        },
        "operations": {
            "sendReadings": operation(
                "send", "readings", "Send one reading, or a backlog.", {"retain": False}
            ),
            "sendStatus": operation("send", "status", "Say how the device is.", {"retain": True}),
            "receiveReceipts": operation("receive", "receipts", "Learn what may be forgotten.", {}),
        },
        "components": {
            "messages": {
                "readings": {**json_message, "payload": {"oneOf": [reading, many]}},
                "status": {**json_message, "payload": {"$ref": "#/components/schemas/status"}},
                "receipt": {**json_message, "payload": {"$ref": "#/components/schemas/receipt"}},
            },
            "schemas": schemas,
            "securitySchemes": {
                "account": {"type": "userPassword", "description": "one account for each device"}
            },
        },
    }


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def asyncapi_text() -> str:
    head = "# Made by docs/generate.py from the catalogue; do not edit.\n"
    return head + yaml.dump(asyncapi(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)


def main(arguments: list[str]) -> int:
    guide = DOCS / "firmware.md"
    wanted = {guide: with_tables(guide.read_text()), DOCS / "asyncapi.yaml": asyncapi_text()}
    stale = 0
    for path, text in wanted.items():
        before = path.read_text() if path.exists() else ""
        if before == text:
            continue
        stale += 1
        if arguments == ["--check"]:
            sys.stdout.writelines(
                difflib.unified_diff(before.splitlines(True), text.splitlines(True), str(path))
            )
        else:
            path.write_text(text)
    return int(stale > 0 and arguments == ["--check"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
