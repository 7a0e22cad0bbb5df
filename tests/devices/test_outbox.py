"""The outbox on disk: what is kept over restarts, what happens when files are lost, and its bounds."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.ledger import Receipt, Rejection
from devices.outbox import READING_BYTES_MAX, OutboxFullError, OutboxStore


def seqs(outbox):
    return [held.seq for held in outbox.after(0, 1000)]


@pytest.fixture
def store(tmp_path):
    store = OutboxStore(tmp_path)
    yield store
    store.close()


def reopen(store):
    store.close()
    return OutboxStore(store.folder)


def put(outbox, *numbers: int, epoch=0):
    outbox.put_many([(epoch, seq, b'{"seq":%d}' % seq) for seq in numbers])


def test_readings_and_counter_outlive_the_process(store):
    put(store.open("sc-1"), 1, 2, 3)
    again = reopen(store).open("sc-1")
    assert seqs(again) == [1, 2, 3]
    assert again.next_seq() == 4
    assert again.epoch == 0


def test_what_a_receipt_covered_does_not_come_back_after_a_restart(store):
    outbox = store.open("sc-1")
    put(outbox, 1, 2, 3)
    outbox.mark_sent(held.position for held in outbox.after(0, 10))
    outbox.settle(Receipt(through=1, also=((3, 3),)))
    assert seqs(reopen(store).open("sc-1")) == [2]


def test_a_lost_database_raises_the_epoch(store):
    put(store.open("sc-1"), 1, 2, 3)
    store.close()
    store.path.unlink()
    outbox = OutboxStore(store.folder).open("sc-1")
    assert (outbox.epoch, outbox.next_seq()) == (1, 1)


def test_a_damaged_database_is_set_aside_and_raises_the_epoch(store):
    put(store.open("sc-1"), 1)
    store.close()
    for path in store.folder.glob("outbox.sqlite*"):
        path.unlink()
    store.path.write_bytes(b"flash memory that has seen better days" * 200)
    again = OutboxStore(store.folder)
    assert again.damaged is not None
    assert again.damaged.exists()
    assert again.open("sc-1").epoch == 1


def test_a_database_older_than_its_epoch_file_starts_a_new_epoch(store):
    put(store.open("sc-1"), 1)
    (store.folder / "sc-1.epoch").write_text("4\n")
    assert reopen(store).open("sc-1").epoch == 5


def test_a_lost_epoch_file_is_written_again_from_the_database(store):
    put(store.open("sc-1", first_epoch=2), 7, epoch=2)
    (store.folder / "sc-1.epoch").unlink()
    again = reopen(store).open("sc-1")
    assert (again.epoch, again.next_seq()) == (2, 8)
    assert (store.folder / "sc-1.epoch").read_text() == "2\n"


def test_a_full_outbox_refuses_the_new_reading_and_keeps_the_old_ones(store):
    outbox = store.open("sc-1")
    outbox.readings_max = 3
    put(outbox, 1, 2, 3)
    with pytest.raises(OutboxFullError, match="connect it to its platform"):
        put(outbox, 4)
    assert seqs(outbox) == [1, 2, 3]
    assert outbox.next_seq() == 4


def test_the_bound_in_bytes_holds_too(store):
    outbox = store.open("sc-1")
    outbox.bytes_max = 20
    put(outbox, 1)
    with pytest.raises(OutboxFullError):
        put(outbox, 2, 3)
    assert outbox.bytes_held == len(b'{"seq":1}')


def test_a_reading_that_no_message_can_carry_is_refused(store):
    with pytest.raises(ValueError, match="a message carries"):
        store.open("ecg-1").put(0, 1, b"x" * (READING_BYTES_MAX + 1))


def test_what_was_rejected_is_kept_in_its_log_once(store):
    outbox = store.open("sc-1")
    put(outbox, 1, 2)
    outbox.mark_sent(held.position for held in outbox.after(0, 10))
    receipt = Receipt(through=2, rejected=(Rejection(1, "implausible"), Rejection(None, "not-json")))
    for _ in range(2):
        outbox.settle(receipt)
    lines = [(line.seq, line.reason, line.payload) for line in outbox.rejected()]
    assert (1, "implausible", b'{"seq":1}') in lines
    assert (None, "not-json", None) in lines
    assert len(lines) == 2
    assert len(outbox) == 0


def test_devices_in_one_store_do_not_meet(store):
    first, second = store.open("sc-1"), store.open("bp-1")
    put(first, 1)
    put(second, 1, 2)
    second.mark_sent(held.position for held in second.after(0, 10))
    second.settle(Receipt(through=9))
    assert (len(first), len(second)) == (1, 0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.one_of(
            st.just("measure"),
            st.just("restart"),
            st.just("send"),
            st.builds(Receipt, through=st.none() | st.integers(0, 30), epoch=st.just(0)),
        ),
        max_size=25,
    )
)
def test_over_any_restarts_each_seq_is_given_once_and_kept_until_covered(steps):
    with tempfile.TemporaryDirectory() as folder:
        store = OutboxStore(Path(folder), durable=False)
        outbox = store.open("sc-1")
        given_out: list[int] = []
        expected: set[int] = set()
        sent: set[int] = set()
        for step in steps:
            if step == "measure":
                seq = outbox.next_seq()
                put(outbox, seq)
                given_out.append(seq)
                expected.add(seq)
            elif step == "restart":
                store.close()
                store = OutboxStore(Path(folder), durable=False)
                outbox = store.open("sc-1")
                sent = set()
            elif step == "send":
                outbox.mark_sent(held.position for held in outbox.after(0, 100))
                sent = set(expected)
            else:
                outbox.settle(step)
                if step.through is not None:
                    expected -= {seq for seq in sent if seq <= step.through}
            assert seqs(outbox) == sorted(expected)
        assert given_out == list(range(1, len(given_out) + 1))
        store.close()


class Failing:
    """A connection whose disk takes nothing more: statements that begin so fail, and roll back as SQLite does."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.fails_at = ""

    def execute(self, sql, values=()):
        if self.fails_at and sql.startswith(self.fails_at):
            if self._connection.in_transaction and self.fails_at != "commit":
                self._connection.execute("rollback")
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(sql, values)

    def __getattr__(self, name) -> object:
        return getattr(self._connection, name)


@pytest.mark.parametrize("statement", ["begin", "delete from reading", "insert into rejected", "commit"])
def test_a_receipt_that_the_disk_does_not_take_is_applied_when_it_comes_again(store, statement):
    store.connection = disk = Failing(store.connection)
    outbox = store.open("sc-1")
    put(outbox, 1, 2, 3, 4)
    outbox.mark_sent(held.position for held in outbox.after(0, 10))
    receipt = Receipt(through=2, also=((4, 4),), rejected=(Rejection(1, "implausible"),))
    disk.fails_at = statement
    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        outbox.settle(receipt)
    assert (seqs(outbox), len(outbox), outbox.bytes_held) == ([1, 2, 3, 4], 4, 4 * len(b'{"seq":1}'))
    assert outbox.oldest(0) == 1
    disk.fails_at = ""
    settled = outbox.settle(receipt)
    assert (len(settled.received), len(settled.rejected)) == (2, 1)
    assert (seqs(outbox), len(outbox), outbox.bytes_held) == ([3], 1, len(b'{"seq":3}'))
    assert [line.seq for line in outbox.rejected()] == [1]


def test_a_full_disk_refuses_the_new_reading_aloud_and_keeps_the_old_ones(store):
    outbox = store.open("sc-1")
    put(outbox, 1)
    (pages,) = store.connection.execute("pragma page_count").fetchone()
    store.connection.execute(f"pragma max_page_count = {pages}")
    with pytest.raises(OutboxFullError, match=r"disk of .* is full: make room on it"):
        outbox.put_many([(0, seq, b"x" * 3000) for seq in range(2, 20)])
    assert (seqs(outbox), len(outbox), outbox.next_seq()) == ([1], 1, 2)
    store.connection.execute("pragma max_page_count = 1000000")
    put(outbox, 2)
    assert seqs(reopen(store).open("sc-1")) == [1, 2]
