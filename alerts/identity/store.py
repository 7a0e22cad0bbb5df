"""Identities in the database: written, found, corrected, sealed anew. Plain connections, as enrolment has them.

Everything that changes an identity says who did it and why. None of the texts here ends in a log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import psycopg

from alerts.identity.keys import number_of
from alerts.identity.vault import Traits, Vault, age_group, ins_index, name_index
from alerts.store.connection import Connection
from devices.times import to_datetime

# Rows that are sealed in one transaction: a second of work, so that the ward's own changes do not wait for long.
BATCH = 1000

NO_KEY = (
    "identities are kept encrypted, and there is no key for them: name a key file by SCAD_IDENTITY_KEYS_FILE"
    " (`scad identity make-key FILE` makes one)"
)


class IdentityError(ValueError):
    """What was asked cannot be done; the message says why and what to do. `code` names it for the pages' texts."""

    def __init__(self, message: str, code: str = "other") -> None:
        super().__init__(message)
        self.code = code


class InsTakenError(IdentityError):
    """Another patient has this INS."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "ins_taken")


@dataclass(frozen=True, slots=True)
class Change:
    """Who changes an identity, when and why."""

    by: str
    at_ms: int
    why: str


def index_key(conn: Connection, vault: Vault) -> bytes:
    """The key of the blind indexes; made with the first identity."""
    query = "select wrapped from identity.index_key"
    row = conn.execute(query).fetchone()
    if row is None:
        conn.execute(
            "insert into identity.index_key (wrapped) values (%s) on conflict do nothing",
            (vault.new_index_key(),),
        )
        row = conn.execute(query).fetchone()
    if row is None:
        raise IdentityError("the key of the identities' index cannot be read by this role")
    return vault.index_key(row[0])


def read(conn: Connection, vault: Vault | None, patient: str) -> Traits | None:
    """Whose pseudonym this is; None where nobody said, or the identity is erased."""
    row = conn.execute(
        "select family_name, given_names, birth_date, sex, phone, ins, ins_oid, sealed, wrapped"
        "  from identity.person where patient = %s and erased_at is null",
        (patient,),
    ).fetchone()
    if row is None:
        return None
    *plain, sealed, wrapped = row
    if sealed is None:
        return Traits(*plain)
    if vault is None:
        raise IdentityError(NO_KEY)
    return vault.open(patient, sealed, wrapped)


def write(conn: Connection, vault: Vault | None, patient: str, traits: Traits, change: Change) -> bool:
    """Seal and store an identity; whether it was not known so. What it was before is kept under the same key.

    Raises InsTakenError, IdentityError (no key, or the identity is erased).
    """
    if vault is None:
        raise IdentityError(NO_KEY)
    known = conn.execute(
        "select sealed, wrapped, erased_at from identity.person where patient = %s for update", (patient,)
    ).fetchone()
    if known is not None and known[2] is not None:
        raise IdentityError(
            f"the identity of {patient} was erased; a person who comes back is enrolled as a new patient"
        )
    before = read(conn, vault, patient)
    if before == traits and known is not None and known[0] is not None:
        return False
    if (
        traits.ins is not None
        and (find_ins(conn, vault, traits.ins_oid or "", traits.ins) or patient) != patient
    ):
        raise InsTakenError(f"another patient than {patient} has this INS")
    wrapped = known[1] if known is not None else None
    columns = vault.seal(patient, traits, index_key(conn, vault), wrapped)
    if before is not None and before != traits:
        former = vault.seal(patient, before, index_key(conn, vault), columns.wrapped).sealed
        conn.execute(
            "insert into identity.former (patient, sealed, replaced_at, replaced_by, why)"
            " values (%s, %s, %s, %s, %s)",
            (patient, former, to_datetime(change.at_ms), change.by, change.why),
        )
    values = (
        columns.sealed, columns.wrapped, columns.ins_index, columns.name_index, traits.sex,
        age_group(traits.birth_date, _enrolled_on(conn, patient)),
    )  # fmt: skip
    try:
        with conn.transaction():
            if known is None:
                conn.execute(
                    "insert into identity.person"
                    " (sealed, wrapped, ins_index, name_index, group_sex, group_age, patient)"
                    " values (%s, %s, %s, %s, %s, %s, %s)",
                    (*values, patient),
                )
            else:
                conn.execute(
                    "update identity.person set sealed = %s, wrapped = %s, ins_index = %s, name_index = %s,"
                    " group_sex = %s, group_age = %s, family_name = null, given_names = null, birth_date = null,"
                    " sex = null, phone = null, ins = null, ins_oid = null where patient = %s",
                    (*values, patient),
                )
    except psycopg.errors.UniqueViolation:
        raise InsTakenError(f"another patient than {patient} has this INS") from None
    return before != traits


def _enrolled_on(conn: Connection, patient: str) -> date:
    row = conn.execute("select enrolled_at from scad.patient where patient = %s", (patient,)).fetchone()
    if row is None:
        raise IdentityError(f"there is no patient {patient!r}")
    at: datetime = row[0]
    return at.date()


def find(
    conn: Connection, vault: Vault | None, family_name: str, given_names: str, birth_date: date
) -> list[str]:
    """Pseudonyms of patients with these names (accents, capitals and hyphens do not count) and birth date."""
    key = None if vault is None else index_key(conn, vault)
    index = None if key is None else name_index(key, family_name, given_names, birth_date)
    rows = conn.execute(
        "select patient from identity.person where name_index = %s or (lower(family_name) = lower(%s)"
        " and lower(given_names) = lower(%s) and birth_date = %s) order by patient",
        (index, family_name, given_names, birth_date),
    ).fetchall()
    return [row[0] for row in rows]


def find_ins(conn: Connection, vault: Vault | None, oid: str, ins: str) -> str | None:
    """The pseudonym of who has this INS."""
    index = None if vault is None else ins_index(index_key(conn, vault), oid, ins)
    row = conn.execute(
        "select patient from identity.person where ins_index = %s or (ins_oid = %s and ins = %s)",
        (index, oid, ins),
    ).fetchone()
    return None if row is None else str(row[0])


def encrypt(conn: Connection, vault: Vault, change: Change) -> int:
    """Seal every plain row; how many there were. Again, it does nothing.

    The database keeps what a row was until its table is rewritten, and backups keep what they have: afterwards the
    table is rewritten (VACUUM FULL) when `conn` is its owner's, in autocommit mode.
    """
    done = 0
    while True:
        with conn.transaction():
            rows = conn.execute(
                "select patient from identity.person where sealed is null and erased_at is null"
                " order by patient limit %s for update",
                (BATCH,),
            ).fetchall()
            for (patient,) in rows:
                traits = read(conn, vault, patient)
                if traits is not None:
                    write(conn, vault, patient, traits, change)
        done += len(rows)
        if len(rows) < BATCH:
            break
    if done:
        conn.execute("vacuum (full) identity.person")
    return done


def plain_rows(conn: Connection) -> int:
    """How many identities are not sealed yet."""
    row = conn.execute(
        "select count(*) from identity.person where sealed is null and erased_at is null"
    ).fetchone()
    return 0 if row is None else int(row[0])


def rotate(conn: Connection, vault: Vault) -> int:
    """Wrap every data key, and the index's, by the newest master key; how many were older.

    Afterwards the older lines of the key file open nothing in this database any more.
    """
    changed = 0
    with conn.transaction():
        for (wrapped,) in conn.execute("select wrapped from identity.index_key for update").fetchall():
            if number_of(wrapped) != vault.keys.current:
                conn.execute("update identity.index_key set wrapped = %s", (vault.rewrap_index_key(wrapped),))
                changed += 1
    while True:
        with conn.transaction():
            rows = conn.execute(
                "select patient, wrapped from identity.person"
                " where wrapped is not null and substr(wrapped, 1, 2) <> %s order by patient limit %s for update",
                (vault.keys.current.to_bytes(2, "big"), BATCH),
            ).fetchall()
            for patient, wrapped in rows:
                conn.execute(
                    "update identity.person set wrapped = %s where patient = %s",
                    (vault.rewrap(patient, wrapped), patient),
                )
        changed += len(rows)
        if len(rows) < BATCH:
            return changed
