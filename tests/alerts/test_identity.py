"""Identities: sealed under a key of their own, found by blind indexes, corrected, merged, split, erased."""

from __future__ import annotations

from datetime import date

import msgspec
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing import vault_of_tests

from alerts.identity import files
from alerts.identity import store as store_module
from alerts.identity.correcting import corrected
from alerts.identity.keys import KeyFileError, make_master_key, parse_master_key, read_master_key
from alerts.identity.store import Change, IdentityError
from alerts.identity.vault import Traits, Vault, age_group, plain_name
from alerts.store import write_signals
from alerts.store.connection import Connection
from devices.times import parse_instant
from scad.main import build_app
from streams.signal import AlertSignal, State

VAULT = vault_of_tests()
NOW_MS = parse_instant("2026-03-01T08:00:00Z")[0]
OID, INS = "1.2.250.1.213.1.4.10", "248057500100134"
WHO = Traits("Lefèvre", "Marie-Thérèse", date(1948, 5, 2), "female", "02 31 00 00 01", INS, OID, "14118")
CHANGE = Change("test", NOW_MS, "because")


def enrol(conn: Connection, *patients: str) -> None:
    conn.execute("insert into scad.care_team (care_team, name) values ('caen', 'Caen')")
    for patient in patients:
        conn.execute("insert into scad.patient values (%s, 'caen', '2026-02-01')", (patient,))


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no key in it"),
        ("one AAAA", "line 1: not a number and a key"),
        ("# mine\n1 AAAA", "line 2: the key has 3 bytes, not 32"),
        ("1 !!!!", "line 1: the key is not base64"),
        pytest.param(make_master_key() * 2, "line 2: number 1 stands there twice", id="one number twice"),
    ],
)
def test_a_bad_key_file_is_refused_with_its_line_and_without_its_content(text: str, fault: str):
    with pytest.raises(KeyFileError, match=fault):
        parse_master_key(text)


def test_a_key_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(KeyFileError, match="No such file"):
        read_master_key(tmp_path / "keys")


def test_an_older_key_opens_what_it_wrapped_and_a_lost_one_is_named():
    first, second = make_master_key(1), make_master_key(2)
    old, both = parse_master_key(first), parse_master_key(first + second)
    wrapped = old.wrap(b"secret", "purpose", "p-1")
    assert both.unwrap(wrapped, "purpose", "p-1") == b"secret"
    with pytest.raises(KeyFileError, match="key 1 is not in the key file"):
        parse_master_key(second).unwrap(wrapped, "purpose", "p-1")
    with pytest.raises(KeyFileError, match="of another installation"):
        parse_master_key(make_master_key(1)).unwrap(wrapped, "purpose", "p-1")
    assert first.split()[1] not in repr(old)


# ── sealing ───────────────────────────────────────────────────────────────────────────────────────────────

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(names, names, st.dates(date(1900, 1, 1), date(2026, 1, 1)), st.integers(0, 10_000))
@settings(max_examples=50)
def test_what_is_sealed_opens_for_its_patient_only_and_unaltered_only(
    family: str, given_names: str, birth: date, flip: int
):
    traits = Traits(family, given_names, birth, "unknown")
    sealed = VAULT.seal("p-1", traits, bytes(32))
    assert VAULT.open("p-1", sealed.sealed, sealed.wrapped) == traits
    with pytest.raises(KeyFileError):
        VAULT.open("p-2", sealed.sealed, sealed.wrapped)
    altered = bytearray(sealed.sealed)
    altered[flip % len(altered)] ^= 1
    with pytest.raises(KeyFileError):
        VAULT.open("p-1", bytes(altered), sealed.wrapped)


def test_names_are_compared_as_people_compare_them():
    assert plain_name("Lefèvre  d'Œuf") == plain_name("LEFEVRE-D OEUF") == "LEFEVRE D OEUF"


@pytest.mark.parametrize(
    ("on", "group"),
    [
        ("2026-01-01", "under 50"), ("2030-05-01", "under 50"), ("2030-05-02", "50-64"), ("2045-05-02", "65-74"),
        ("2055-05-02", "75-84"), ("2065-05-02", "85 and over"),
    ],
)  # fmt: skip
def test_the_group_of_an_age_changes_on_the_birthday(on: str, group: str):
    assert age_group(date(1980, 5, 2), date.fromisoformat(on)) == group


# ── in the database ───────────────────────────────────────────────────────────────────────────────────────


def test_plain_rows_are_sealed_once_and_are_found_as_before(store: Connection):
    enrol(store, "p-1", "p-2")
    store.execute(
        "insert into identity.person values ('p-1', %s, %s, %s, 'female', %s, %s, '02')",
        (WHO.family_name, WHO.given_names, WHO.birth_date, INS, OID),
    )
    expected = msgspec.structs.replace(WHO, phone="02", birth_place=None)
    assert store_module.read(store, None, "p-1") == expected
    groups = "select sex, age_group from scad.panel_patient where patient = 'p-1'"
    before = store.execute(groups).fetchall()
    assert (store_module.encrypt(store, VAULT, CHANGE), store_module.encrypt(store, VAULT, CHANGE)) == (1, 0)
    assert store_module.plain_rows(store) == 0
    assert store_module.read(store, VAULT, "p-1") == expected
    assert store.execute(groups).fetchall() == before == [("female", "75-84")]
    assert store_module.find_ins(store, VAULT, OID, INS) == "p-1"
    assert store_module.find(store, VAULT, "LEFEVRE", "marie thérèse", WHO.birth_date) == ["p-1"]
    row = store.execute("select person::text from identity.person").fetchone()
    assert row is not None
    assert not any(text in row[0] for text in ("Lef", "Marie", "1948", INS))
    with pytest.raises(IdentityError, match="another patient than p-2 has this INS"):
        store_module.write(store, VAULT, "p-2", WHO, CHANGE)


def test_after_a_rotation_the_older_key_may_go(store: Connection):
    enrol(store, "p-1")
    first, second = make_master_key(1), make_master_key(2)
    store_module.write(store, Vault(parse_master_key(first)), "p-1", WHO, CHANGE)
    both = Vault(parse_master_key(first + second))
    assert (store_module.rotate(store, both), store_module.rotate(store, both)) == (2, 0)
    alone = Vault(parse_master_key(second))
    assert store_module.read(store, alone, "p-1") == WHO
    assert store_module.find_ins(store, alone, OID, INS) == "p-1"


def test_a_correction_keeps_what_was_before_and_makes_the_identity_provisional(store: Connection):
    enrol(store, "p-1")
    store_module.write(store, VAULT, "p-1", msgspec.structs.replace(WHO, reliability="VALI"), CHANGE)
    before = store_module.read(store, VAULT, "p-1")
    assert before is not None
    after = corrected(before, {"family_name": "Lefebvre", "phone": ""})
    assert (after.family_name, after.phone, after.reliability) == ("Lefebvre", None, "PROV")
    assert store_module.write(store, VAULT, "p-1", after, CHANGE)
    sealed, wrapped = store.execute(
        "select f.sealed, p.wrapped from identity.former f join identity.person p using (patient)"
    ).fetchone() or (b"", b"")
    assert VAULT.open("p-1", sealed, wrapped) == before
    assert corrected(before, {"phone": "1"}).reliability == "VALI"


@pytest.mark.parametrize(
    ("given_", "fault"),
    [
        ({"ins": "", "reliability": "VALI"}, "VALI needs an INS"),
        ({"ins_oid": "1.2.3", "reliability": "VALI"}, "VALI needs an INS with one of the OIDs"),
        ({"ins": "248057500100135"}, "its key does not fit"),
        ({"ins_oid": ""}, "go together"),
        ({"birth_date": "1948-13-02"}, "birth_date"),
        ({"family_name": ""}, "family_name"),
        ({"birth_place": "Caen"}, "birth_place"),
    ],
)
def test_a_correction_that_cannot_be_is_refused_by_name(given_: dict[str, str], fault: str):
    with pytest.raises(IdentityError, match=fault):
        corrected(WHO, given_)


def test_an_erasure_destroys_the_key_and_says_what_remains(store: Connection):
    enrol(store, "p-1")
    store_module.write(store, VAULT, "p-1", WHO, CHANGE)
    store.execute("insert into scad.device values ('sc-1', null, now())")
    store.execute("insert into scad.assignment values ('sc-1', 'p-1', '2026-02-01', null)")
    with pytest.raises(IdentityError, match="still has a device"):
        files.erase(store, "p-1", CHANGE)
    store.execute("update scad.assignment set to_at = '2026-03-01'")
    assert files.erase(store, "p-1", CHANGE).remains["scad.assignment"] == 1
    assert store_module.read(store, VAULT, "p-1") is None
    assert store_module.find_ins(store, VAULT, OID, INS) is None
    row = store.execute("select num_nonnulls(sealed, wrapped, ins_index, name_index) from identity.person")
    assert row.fetchone() == (0,)
    with pytest.raises(IdentityError, match="was erased"):
        store_module.write(store, VAULT, "p-1", WHO, CHANGE)


Rows = list[tuple[object, ...]]


def alert(patient: str, n: int, which: str, state: State = "raised") -> AlertSignal:
    """A high alert of this patient, `which` the last digit of its name."""
    return AlertSignal(
        alert=f"7b0c6c9e-1f4e-4a8e-9c53-00000000000{which}",
        patient=patient,
        protocol="heart-failure",
        protocol_version="2026.1",
        rule=f"weight-gain-{which}d",
        cls="clinical",
        severity="high",
        state=state,
        at="2026-03-01T07:00:00Z",
        explanation={"fr": "f", "en": "e"},
        n=n,
    )


def of_alerts(conn: Connection) -> dict[str, tuple[str, str]]:
    """By the last digit of an alert: whose it is, and its state."""
    rows = conn.execute("select right(alert::text, 1), patient, state from scad.alert").fetchall()
    return {which: (patient, state) for which, patient, state in rows}


def record_of_care(conn: Connection) -> list[Rows]:
    tables = ("scad.reading", "scad.alert", "scad.assignment", "scad.care_plan", "scad.device")
    return [conn.execute(f"select * from {table} order by 1, 2".encode()).fetchall() for table in tables]


def test_a_merge_and_its_split_move_no_reading_and_no_device(store: Connection):
    enrol(store, "p-1", "p-2", "p-3")
    store_module.write(store, VAULT, "p-1", WHO, CHANGE)
    for n, patient in enumerate(("p-1", "p-2")):
        store.execute("insert into scad.device values (%s, null, now())", (f"sc-{n}",))
        store.execute("insert into scad.assignment values (%s, %s, '2026-02-01')", (f"sc-{n}", patient))
        store.execute(
            'insert into scad.reading (measured_at, device, epoch, seq, digest, patient, kind, "values",'
            " received_at, stored_at) values ('2026-02-02', %s, 0, 1, decode(repeat('00', 16), 'hex'), %s,"
            " 'body-weight', '{}', now(), now())",
            (f"sc-{n}", patient),
        )
    acknowledged = alert("p-2", 1, "1")
    write_signals(store, [alert("p-1", 1, "0"), acknowledged], NOW_MS)
    store.execute(
        "update scad.alert set state = 'acknowledged', acknowledged_by = 'infirmiere', acknowledged_at = now(),"
        " acknowledged_severity = 'high' where alert = %s",
        (acknowledged.alert,),
    )
    assert of_alerts(store) == {"0": ("p-1", "open"), "1": ("p-2", "acknowledged")}
    before = record_of_care(store)
    files.merge(store, "p-2", "p-1", CHANGE)
    assert of_alerts(store) == {"0": ("p-1", "open"), "1": ("p-2", "acknowledged")}
    for wrong in (("p-1", "p-3"), ("p-3", "p-2"), ("p-2", "p-3")):  # a holder is nobody's file
        with pytest.raises(IdentityError, match=r"merged already|no identity"):
            files.merge(store, *wrong, CHANGE)
    with pytest.raises(IdentityError, match="split them first"):
        files.erase(store, "p-1", CHANGE)
    store.execute("insert into scad.device values ('sc-9', null, now())")
    store.execute("insert into scad.assignment values ('sc-9', 'p-1', '2026-03-02')")
    done = files.split(store, "p-2", Change("test", NOW_MS + 1, "they are sisters"))
    assert (done.holder, [(device, file) for device, file, _ in done.attached]) == ("p-1", [("sc-9", "p-1")])
    store.execute("delete from scad.assignment where device = 'sc-9'")
    store.execute("delete from scad.device where device = 'sc-9'")
    assert record_of_care(store) == before
    with pytest.raises(IdentityError, match="is not merged"):
        files.split(store, "p-2", CHANGE)


def test_an_alert_that_comes_while_two_files_are_merged_is_its_own_patients_after_the_split(
    store: Connection,
):
    enrol(store, "p-1", "p-2")
    store_module.write(store, VAULT, "p-1", WHO, CHANGE)
    files.merge(store, "p-2", "p-1", CHANGE)
    write_signals(store, [alert("p-2", 1, "1"), alert("p-1", 1, "0")], NOW_MS)
    write_signals(store, [alert("p-2", 2, "1", state="updated"), alert("p-2", 3, "2")], NOW_MS + 1)
    named = {"0": ("p-1", "open"), "1": ("p-2", "open"), "2": ("p-2", "open")}
    assert of_alerts(store) == named
    files.split(store, "p-2", Change("test", NOW_MS + 2, "they are sisters"))
    assert of_alerts(store) == named
    events = store.execute("select patient, count(*) from scad.alert_event where kind = 'signal' group by 1")
    assert dict(events.fetchall()) == {"p-1": 1, "p-2": 3}


def test_the_roles_that_need_no_name_cannot_read_one(store: Connection):
    for role in ("scad_service", "scad_login", "scad_writer", "scad_escalation"):
        with store.transaction(force_rollback=True):
            store.execute("select set_config('role', %s, true)", (role,))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                store.execute("select sealed from identity.person")


def test_the_command_makes_a_key_once_and_adds_one(tmp_path, capsys):
    app, path = build_app(), str(tmp_path / "keys")
    for words, status in (
        (["make-key", path], 0),
        (["make-key", path], 1),
        (["make-key", path, "--rotate"], 0),
    ):
        with pytest.raises(SystemExit) as ended:
            app(["identity", *words])
        assert (ended.value.code or 0) == status
    assert read_master_key(path).numbers == [1, 2]
    assert "never replaced" in capsys.readouterr().err
