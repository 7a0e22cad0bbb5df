"""docs/firmware.md and docs/asyncapi.yaml: every example is run, every table compared with the code."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

import pytest
import yaml
from deployed import ROOT, ComposedMosquitto, make_secrets, need_openssl
from device_messages import VALUES
from fake_platform import FakePlatform, until

from devices.catalogue import KINDS
from devices.decode import MAX_PAYLOAD_BYTES, MAX_READINGS, REASONS, Reason, decode_payload
from devices.firmware import RESEND_AFTER_MAX_S, RESEND_AFTER_S
from devices.ledger import parse_receipt
from devices.readings import Reading
from devices.times import parse_instant
from scad.services.mosquitto import ACCEPTED, LIMITS_FILE
from streams import receipts
from streams.bridge import SESSION_EXPIRY_S
from streams.history import DENSE_HORIZON_MS, HORIZON_MS

GUIDE = (ROOT / "docs/firmware.md").read_text()
ASYNCAPI = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())
SCHEMAS = ASYNCAPI["components"]["schemas"]
DAY_MS = 86_400_000
RECEIVED_AT_MS = parse_instant("2026-11-22T07:31:20+01:00")[0]
EXAMPLE_LINES = 20


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


# ── the examples ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def broker(mosquitto, service_folder):
    """The deployment's broker with an account for the scale of the guide."""
    need_openssl()
    secrets = service_folder / "secrets"
    assert make_secrets(secrets, "127.0.0.1").returncode == 0
    with ComposedMosquitto(service_folder, secrets) as running:
        running.password = make_secrets(secrets, "device", "sc-1").stdout.strip()
        running.reread("sc-1", running.password, ACCEPTED)
        running.ca = secrets / "ca.crt"
        yield running


@pytest.fixture
def platform(broker):
    with FakePlatform(broker) as running:
        yield running


def test_the_example_keeps_its_reading_until_the_receipt_over_a_crash(broker, platform, tmp_path):
    (example,) = blocks("python")
    (tmp_path / "scale.py").write_text(example)
    command = [sys.executable, "-W", "error", "scale.py", "127.0.0.1", str(broker.tls_port), str(broker.ca)]
    command += ["sc-1", broker.password]
    platform.silent = True
    first = subprocess.Popen([*command, "80.1"], cwd=tmp_path)
    until(lambda: platform.seqs("sc-1") == [1])
    first.kill()
    first.wait(10)
    held, next_seq = json.loads((tmp_path / "sc-1.json").read_text())
    assert ([reading["seq"] for reading in held], next_seq) == ([1], 2)
    platform.silent = False
    second = subprocess.run([*command, "80.4"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (second.returncode, second.stderr) == (0, "")
    assert platform.seqs("sc-1") == [1, 1, 2]
    assert json.loads((tmp_path / "sc-1.json").read_text()) == [[], 3]


def test_the_example_has_as_many_lines_as_it_says():
    (example,) = blocks("python")
    lines = [line for line in example.splitlines() if line and not re.match(r"import |from ", line)]
    assert len(lines) == EXAMPLE_LINES
    assert f"{EXAMPLE_LINES} lines without the imports" in GUIDE


def test_the_line_with_mosquitto_pub_delivers_a_reading(broker, platform):
    (line,) = [block for block in blocks("sh") if block.startswith("mosquitto_pub ")]
    given = {
        "mosquitto_pub": broker.program("mosquitto_pub"),
        "mqtt.example.org": "127.0.0.1",
        "8883": str(broker.tls_port),
        "ca.crt": str(broker.ca),
        "PASSWORD": broker.password,
    }
    words = [given.get(word, word) for word in shlex.split(line)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    until(lambda: platform.seqs("sc-1") == [1])
    (decoded,) = decode_payload(platform.messages[0][1], "sc-1", RECEIVED_AT_MS)
    assert isinstance(decoded, Reading)
    assert decoded.values == {"weight": 80.1}


def test_every_reading_that_is_shown_is_accepted():
    shown = [text for text in blocks("json") if '"v":1' in text]
    assert len(shown) == 2
    for text in shown:
        device = json.loads(text)["device"]
        (decoded,) = decode_payload(text.encode(), device, RECEIVED_AT_MS)
        assert isinstance(decoded, Reading), decoded
        assert decoded.kind == "blood-pressure"
        assert decoded.values["systolic"] == 142


def test_the_receipt_that_is_shown_is_one():
    (text,) = [text for text in blocks("json") if "through" in text]
    receipt = parse_receipt(text.encode())
    assert (receipt.through, receipt.also) == (1042, ((1045, 1047),))
    assert {rejection.reason for rejection in receipt.rejected} <= set(REASONS)


def test_the_worked_example_of_receipts_is_what_the_platform_answers():
    ledger = receipts.new_ledger()
    refused = receipts.Rejected(7, Reason.OUT_OF_RANGE)
    answers = [
        receipts.receipt(0, receipts.note(ledger, 0, [5, 6])),
        receipts.receipt(0, receipts.note(ledger, 0, [8, 9], oldest=5)),
        receipts.receipt(0, receipts.note(ledger, 0, [7]), [refused]),
    ]
    shown = re.findall(r"^\| \d.*\| `(\{.*\})` \|$", GUIDE, re.MULTILINE)
    assert [json.loads(text) for text in shown] == [
        json.loads(receipts.encode_receipt(answer)) for answer in answers
    ]


# ── the numbers and tables ────────────────────────────────────────────────────────────────────────────


def test_the_tables_and_the_asyncapi_file_are_those_of_the_code():
    done = subprocess.run(
        [sys.executable, ROOT / "docs/generate.py", "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, f"run python docs/generate.py\n{done.stdout}{done.stderr}"


def test_the_bounds_in_words_are_those_of_the_code():
    assert f"an array of at most {MAX_READINGS}" in GUIDE
    assert f"at most {MAX_PAYLOAD_BYTES // 1024} KiB" in GUIDE
    packet = int(re.search(r"^max_packet_size (\d+)", LIMITS_FILE.read_text(), re.MULTILINE)[1])
    assert f"one above {packet // 1024} KiB ends the connection" in GUIDE
    queue = int(re.search(r"^max_queued_bytes (\d+)", LIMITS_FILE.read_text(), re.MULTILINE)[1])
    assert f"{queue // 1024**2} MiB" in GUIDE
    assert f"up to {HORIZON_MS // DAY_MS}\n  days after" in GUIDE
    assert f"({DENSE_HORIZON_MS // DAY_MS} days for continuous glucose" in GUIDE
    assert f"{receipts.MAX_RANGES} ranges and {receipts.MAX_REJECTED} refusals" in GUIDE
    assert SESSION_EXPIRY_S == 3_600  # "for an hour"
    assert (receipts.MAX_EPOCHS, RESEND_AFTER_S, RESEND_AFTER_MAX_S) == (4, 60, 600)  # said in words


def test_every_reference_of_the_asyncapi_file_leads_somewhere():
    def follow(node: object) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "$ref":
                    target = ASYNCAPI
                    for part in value.removeprefix("#/").split("/"):
                        target = target[part]
                follow(value)
        elif isinstance(node, list):
            for item in node:
                follow(item)

    follow(ASYNCAPI)
    assert ASYNCAPI["asyncapi"].startswith("3.")
    assert {channel["address"] for channel in ASYNCAPI["channels"].values()} == {
        f"scad/v1/{{device}}/{leaf}" for leaf in ("readings", "status", "receipts")
    }


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_asyncapi_file_describes_the_values_that_the_decoder_takes(kind):
    values = SCHEMAS[f"values-{kind}"]
    assert set(values["properties"]) == set(KINDS[kind].values)
    assert set(values.get("required", [])) <= set(VALUES[kind]) <= set(values["properties"])
    reading = SCHEMAS[f"reading-{kind}"]
    assert reading["properties"]["kind"] == {"const": kind}
    assert tuple(reading["properties"].get("unit", {}).get("enum", ())) == KINDS[kind].units
    for name, value in VALUES[kind].items():
        low, high = (values["properties"][name].get(bound) for bound in ("minimum", "maximum"))
        assert low is None or low <= value <= high
