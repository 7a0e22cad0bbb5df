"""What a device has measured and the platform has not confirmed, on disk.

One SQLite file in a folder holds the outboxes of all devices of a process (a real device has one). Beside it
stands a file per device with its epoch, written once an epoch: when the database is lost or damaged, the
counter is lost with it, and the epoch is raised by one so that no identity is ever used for two readings.

When something is safe: `put` returns after the transaction is committed. With `durable=True` (the default)
SQLite runs with synchronous=FULL, so that a reading survives a power cut from then on, and no seq is given
twice. With `durable=False` it survives the death of the process, not of the machine: for simulated devices.
Forgetting is not made durable in a hurry: what is sent twice does no harm.

Nothing is dropped: a full outbox refuses the new reading with OutboxFullError and says so.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from devices.ledger import Ledger, Receipt, Rejection, Settled

READINGS_MAX = 100_000
"""A sensor that measures every 5 minutes fills this in 347 days offline."""
BYTES_MAX = 64 * 1024 * 1024
"""Electrocardiograms are some 30 kB each: 64 MiB are about 2,000 of them, and fit a small flash chip."""
READING_BYTES_MAX = 256 * 1024 - 64
"""The contract's bound of a payload, less the room that `oldest` takes when it is added."""
REJECTED_MAX = 10_000
"""Lines of the log of refusals; the oldest go first, since the platform's quarantine keeps them whole."""

_SCHEMA = """
create table if not exists reading (
    position integer primary key autoincrement, device text not null, epoch integer not null,
    seq integer not null, payload blob not null);
create index if not exists reading_device on reading (device, position);
create table if not exists counter (device text primary key, epoch integer not null, seq integer not null);
create table if not exists rejected (
    id integer primary key autoincrement, device text not null, epoch integer not null, seq integer,
    reason text not null, payload blob);
create unique index if not exists rejected_once on rejected (device, epoch, ifnull(seq, -1), reason);
"""


class OutboxFullError(RuntimeError):
    """The outbox holds as much as it may, or the disk is full. Nothing was stored; what was held is still held."""


class Held(NamedTuple):
    """One reading that waits. Positions rise in the order in which readings were put."""

    position: int
    epoch: int
    seq: int
    payload: bytes


class Rejected(NamedTuple):
    """One line of the log of refusals; `payload` is None when the reading had been forgotten before."""

    epoch: int
    seq: int | None
    reason: str
    payload: bytes | None


class OutboxStore:
    """The SQLite file with the outboxes of a folder. One process at a time; any thread."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "outbox.sqlite"
        self.lock = threading.RLock()
        self.damaged: Path | None = None
        """Where a database that could not be read was moved to; its devices start a new epoch."""
        self._durable = durable
        try:
            self.connection = self._connect()
        except sqlite3.DatabaseError:
            self.damaged = self._set_aside()
            self.connection = self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("pragma journal_mode = wal")
            connection.execute(f"pragma synchronous = {'full' if self._durable else 'off'}")
            (verdict,) = connection.execute("pragma quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_aside(self) -> Path:
        """Keep the damaged file for a person to look at, out of the way."""
        number = sum(1 for _ in self.folder.glob("outbox.damaged-*"))
        aside = self.folder / f"outbox.damaged-{number}"
        os.replace(self.path, aside)
        for suffix in ("-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        return aside

    def open(self, device: str, first_epoch: int = 0) -> Outbox:
        """The outbox of a device, made when it is not there; `first_epoch` is for a new device's memory."""
        return Outbox(self, device, first_epoch)

    def close(self) -> None:
        with self.lock:
            self.connection.close()


class Outbox:
    """The readings of one device that no receipt has covered, and its counter."""

    def __init__(self, store: OutboxStore, device: str, first_epoch: int) -> None:
        self.device = device
        self.readings_max = READINGS_MAX
        self.bytes_max = BYTES_MAX
        self._store = store
        self._db = store.connection
        self._lock = store.lock
        self._epoch_file = store.folder / f"{device}.epoch"
        self._ledger = Ledger()
        self._bytes = 0
        with self._lock:
            self.epoch, self.last_seq = self._recover_counter(first_epoch)
            rows = self._db.execute(
                "select position, epoch, seq, length(payload) from reading where device = ?"
                " order by position",
                (device,),
            )
            for position, epoch, seq, size in rows:
                self._ledger.hold(position, epoch, seq)
                self._bytes += size

    def _recover_counter(self, first_epoch: int) -> tuple[int, int]:
        """(epoch, last seq). A counter that is lost, or older than the epoch's file, starts an epoch."""
        row = self._db.execute("select epoch, seq from counter where device = ?", (self.device,)).fetchone()
        noted = self._noted_epoch()
        if row is not None and (noted is None or noted <= row[0]):
            epoch, seq = int(row[0]), int(row[1])
        else:
            epoch, seq = (first_epoch if noted is None else noted + 1), 0
        self._note_epoch(epoch)  # the file first: a crash in between costs an epoch, never an identity
        self._write_counter(epoch, seq)
        return epoch, seq

    def _noted_epoch(self) -> int | None:
        try:
            return int(self._epoch_file.read_text())
        except (OSError, ValueError):
            return None

    def _note_epoch(self, epoch: int) -> None:
        if self._noted_epoch() == epoch:
            return
        beside = self._epoch_file.with_suffix(".epoch-new")
        with beside.open("w") as file:
            file.write(f"{epoch}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self._epoch_file)

    def _write_counter(self, epoch: int, seq: int) -> None:
        self._db.execute(
            "insert into counter values (?, ?, ?) on conflict (device) do update"
            " set epoch = excluded.epoch, seq = excluded.seq"
            " where (epoch, seq) < (excluded.epoch, excluded.seq)",
            (self.device, epoch, seq),
        )

    def __len__(self) -> int:
        return len(self._ledger)

    @property
    def bytes_held(self) -> int:
        return self._bytes

    def exclusive(self) -> threading.RLock:
        """To be held by one who asks for `next_seq` and then puts a reading with it."""
        return self._lock

    def next_seq(self) -> int:
        """The seq of the next reading. It is taken by putting a reading with it."""
        return self.last_seq + 1

    def put(self, epoch: int, seq: int, payload: bytes) -> None:
        """Keep one reading (JSON object, UTF-8). See `put_many`."""
        self.put_many([(epoch, seq, payload)])

    def put_many(self, readings: Sequence[tuple[int, int, bytes]]) -> None:
        """Keep readings (epoch, seq, payload), all or none, in this order.

        Raises OutboxFullError when they do not fit, or the disk is full; ValueError for a reading that no message
        can carry.
        """
        size = sum(len(payload) for _, _, payload in readings)
        for _, seq, payload in readings:
            if len(payload) > READING_BYTES_MAX:
                raise ValueError(
                    f"reading {seq} has {len(payload)} bytes; a message carries {READING_BYTES_MAX}"
                )
        with self._lock:
            if len(self) + len(readings) > self.readings_max or self._bytes + size > self.bytes_max:
                raise OutboxFullError(
                    f"the outbox of {self.device} holds {len(self)} readings of {self._bytes} bytes; "
                    f"{self.readings_max} and {self.bytes_max} are allowed: connect it to its platform"
                )
            epoch, last = max((self.epoch, self.last_seq), *((epoch, seq) for epoch, seq, _ in readings))
            with self._refused_when_disk_is_full():
                if epoch != self.epoch:
                    self._note_epoch(epoch)
                with _transaction(self._db):
                    positions = [self._insert(*reading) for reading in readings]
                    self._write_counter(epoch, last)
            self.epoch, self.last_seq = epoch, last
            for position, (of_epoch, seq, _) in zip(positions, readings, strict=True):
                self._ledger.hold(position, of_epoch, seq)
            self._bytes += size

    @contextmanager
    def _refused_when_disk_is_full(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            sqlite_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            if not sqlite_full and getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OutboxFullError(
                f"the disk of {self._store.path} is full: make room on it; the reading was not stored"
            ) from error

    def _insert(self, epoch: int, seq: int, payload: bytes) -> int:
        cursor = self._db.execute(
            "insert into reading (device, epoch, seq, payload) values (?, ?, ?, ?)",
            (self.device, epoch, seq, payload),
        )
        return int(cursor.lastrowid or 0)

    def after(self, position: int, limit: int) -> list[Held]:
        """At most `limit` readings that wait behind a position, in order."""
        with self._lock:
            rows = self._db.execute(
                "select position, epoch, seq, payload from reading where device = ? and position > ?"
                " order by position limit ?",
                (self.device, position, limit),
            )
            return [Held(*row) for row in rows]

    def mark_sent(self, positions: Iterable[int]) -> None:
        """The broker has taken these from this process at least once: only these can be covered by a receipt."""
        with self._lock:
            for position in positions:
                if position in self._ledger:
                    self._ledger.sent(position)

    def oldest(self, epoch: int) -> int | None:
        """The lowest seq still held of an epoch."""
        with self._lock:
            return self._ledger.lowest(epoch)

    def settle(self, receipt: Receipt) -> Settled:
        """Forget what a receipt covers; what was refused moves to the log of refusals.

        Raises sqlite3.Error when the disk does not take it: then nothing is forgotten, and the same receipt, or a later
        one, can be applied again.
        """
        with self._lock:
            settled = self._ledger.covered_by(receipt)
            gone = [*settled.received, *(position for position, _ in settled.rejected)]
            if gone or settled.unmatched:
                with _transaction(self._db):
                    for position, rejection in settled.rejected:
                        self._log(receipt.epoch, rejection, position)
                    for rejection in settled.unmatched:
                        self._log(receipt.epoch, rejection, None)
                    freed = sum(self._delete(position) for position in gone)
                # The disk first: a row that it kept must stay one that a later receipt can cover.
                self._ledger.forget(receipt.epoch, settled)
                self._bytes -= freed
            return settled

    def _delete(self, position: int) -> int:
        (size,) = self._db.execute(
            "delete from reading where position = ? returning length(payload)", (position,)
        ).fetchone()
        return int(size)

    def _log(self, epoch: int, rejection: Rejection, position: int | None) -> None:
        self._db.execute(
            "insert into rejected (device, epoch, seq, reason, payload)"
            " values (?, ?, ?, ?, (select payload from reading where position = ?)) on conflict do nothing",
            (self.device, epoch, rejection.seq, rejection.reason, position),
        )
        self._db.execute(
            "delete from rejected where device = ? and id <="
            " (select id from rejected where device = ? order by id desc limit 1 offset ?)",
            (self.device, self.device, REJECTED_MAX),
        )

    def rejected(self) -> list[Rejected]:
        """The log of refusals, oldest first."""
        with self._lock:
            rows = self._db.execute(
                "select epoch, seq, reason, payload from rejected where device = ? order by id",
                (self.device,),
            )
            return [Rejected(*row) for row in rows]


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN … COMMIT, or ROLLBACK when the body or the commit raises."""
    connection.execute("begin immediate")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back when the disk is full
            connection.execute("rollback")
        raise
