"""Sealing identities: a data key for each patient, wrapped by a master key; blind indexes to find them again. Pure.

Traits are one JSON document under AES-256-GCM with the patient's data key; pseudonym and purpose are bound to it, so
a sealed document that somebody moves to another patient's row does not open. The data key exists wrapped only: who
destroys it has destroyed the identity, wherever copies of the sealed document lie without it.
"""

from __future__ import annotations

import hmac
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from alerts.enrolment import Identity, Reliability
from alerts.identity.keys import KEY_BYTES, NONCE_BYTES, KeyFileError, MasterKeys, parse_master_key

KEY_PURPOSE = "identity key"
INDEX_PURPOSE = "identity index"
INDEX_CONTEXT = "index"

# OIDs of an INS (clinical reference, section 8.3): a validated identity has one of them.
INS_OIDS = tuple(f"1.2.250.1.213.1.4.{kind}" for kind in (8, 9, 10, 11))

Sex = Literal["female", "male", "unknown"]

_AGE_GROUPS = ((50, "under 50"), (65, "50-64"), (75, "65-74"), (85, "75-84"))


class Traits(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who a patient is: what is sealed. `birth_place` is INSEE's code of the commune or country, the fifth of the
    INS's strict traits; `reliability` the status of the identity: VALI when it was validated with its INS."""

    family_name: str
    given_names: str
    birth_date: date
    sex: Sex
    phone: str | None = None
    ins: str | None = None
    ins_oid: str | None = None
    birth_place: str | None = None
    reliability: Reliability = "PROV"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A row's secret columns."""

    sealed: bytes
    wrapped: bytes
    ins_index: bytes | None
    name_index: bytes


def traits_of(identity: Identity) -> Traits:
    """What an enrolment file or the form says."""
    ins, oid = (None, None) if identity.ins is None else (identity.ins.value, identity.ins.oid)
    return Traits(
        family_name=identity.family_name,
        given_names=identity.given_names,
        birth_date=identity.birth_date,
        sex=identity.sex,
        phone=identity.phone,
        ins=ins,
        ins_oid=oid,
        birth_place=identity.birth_place,
        reliability=identity.reliability,
    )


def reliability_fault(reliability: Reliability, ins: str | None, oid: str | None) -> str | None:
    """Why an identity cannot have this status; None when it can."""
    if reliability == "VALI" and (ins is None or oid not in INS_OIDS):
        return f"VALI needs an INS with one of the OIDs {', '.join(INS_OIDS)}; without it the status is PROV"
    return None


def vault_of(key_file_text: str) -> Vault | None:
    """The vault of a key file's content (setting SCAD_IDENTITY_KEYS_FILE); None without one. Raises KeyFileError."""
    return Vault(parse_master_key(key_file_text, "SCAD_IDENTITY_KEYS")) if key_file_text else None


class Vault:
    """Seals and opens with the master keys of one installation."""

    def __init__(self, keys: MasterKeys) -> None:
        self.keys = keys

    def seal(self, patient: str, traits: Traits, index_key: bytes, wrapped: bytes | None = None) -> Sealed:
        """The columns of a patient's row; under the data key that the patient has, or a new one."""
        if wrapped is None:
            wrapped = self.keys.wrap(secrets.token_bytes(KEY_BYTES), KEY_PURPOSE, patient)
        nonce = secrets.token_bytes(NONCE_BYTES)
        cipher = AESGCM(self.keys.unwrap(wrapped, KEY_PURPOSE, patient))
        sealed = nonce + cipher.encrypt(nonce, msgspec.json.encode(traits), patient.encode())
        ins = None if traits.ins is None else ins_index(index_key, traits.ins_oid or "", traits.ins)
        names = name_index(index_key, traits.family_name, traits.given_names, traits.birth_date)
        return Sealed(sealed, wrapped, ins, names)

    def open(self, patient: str, sealed: bytes, wrapped: bytes) -> Traits:
        """The traits. Raises KeyFileError: no key for it, or altered."""
        cipher = AESGCM(self.keys.unwrap(wrapped, KEY_PURPOSE, patient))
        try:
            plain = cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], patient.encode())
        except (InvalidTag, ValueError):
            raise KeyFileError(
                f"the identity of {patient} does not open with its key: it was altered"
            ) from None
        return msgspec.json.decode(plain, type=Traits)

    def rewrap(self, patient: str, wrapped: bytes) -> bytes:
        """The same data key under the newest master key."""
        return self.keys.wrap(self.keys.unwrap(wrapped, KEY_PURPOSE, patient), KEY_PURPOSE, patient)

    def new_index_key(self) -> bytes:
        """A wrapped key for blind indexes."""
        return self.keys.wrap(secrets.token_bytes(KEY_BYTES), INDEX_PURPOSE, INDEX_CONTEXT)

    def index_key(self, wrapped: bytes) -> bytes:
        return self.keys.unwrap(wrapped, INDEX_PURPOSE, INDEX_CONTEXT)

    def rewrap_index_key(self, wrapped: bytes) -> bytes:
        return self.keys.wrap(self.index_key(wrapped), INDEX_PURPOSE, INDEX_CONTEXT)


def ins_index(key: bytes, oid: str, ins: str) -> bytes:
    """HMAC-SHA256 by which an INS is found without being readable."""
    return hmac.digest(key, b"ins\0" + f"{oid}\0{ins.replace(' ', '').upper()}".encode(), "sha256")


def name_index(key: bytes, family_name: str, given_names: str, birth_date: date) -> bytes:
    """HMAC-SHA256 of the names as people compare them (`plain_name`), and the birth date."""
    said = f"{plain_name(family_name)}\0{plain_name(given_names)}\0{birth_date.isoformat()}"
    return hmac.digest(key, b"name\0" + said.encode(), "sha256")


def plain_name(name: str) -> str:
    """Capitals without accents; hyphens and apostrophes are spaces, as on an identity card's strip."""
    letters = unicodedata.normalize("NFKD", name.upper().replace("Œ", "OE").replace("Æ", "AE"))
    return " ".join(
        "".join(c if c.isalnum() else " " for c in letters if not unicodedata.combining(c)).split()
    )


def age_group(birth_date: date, on: date) -> str:
    """The group of the dashboards (alerts/schema/0033_panels.sql) on a day: the day of enrolment."""
    age = on.year - birth_date.year - ((on.month, on.day) < (birth_date.month, birth_date.day))
    return next((group for below, group in _AGE_GROUPS if age < below), "85 and over")


def reveal(vault: Vault | None, row: Mapping[str, Any]) -> dict[str, Any]:
    """The names of a row of identity.person, sealed or plain, as the pages show them; nothing where the process has no
    key or the row is erased. The row has `holder` (whose identity it is) and the table's columns."""
    if row.get("sealed") is None:
        return {name: row[name] for name in ("family_name", "given_names", "birth_date", "sex", "phone")}
    if vault is None:
        return {"family_name": None, "given_names": None, "birth_date": None, "sex": "unknown", "phone": None}
    traits = vault.open(row["holder"], row["sealed"], row["wrapped"])
    return {
        "family_name": traits.family_name,
        "given_names": traits.given_names,
        "birth_date": traits.birth_date,
        "sex": traits.sex,
        "phone": traits.phone,
    }
