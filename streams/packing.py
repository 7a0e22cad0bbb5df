"""Observations as columns: how a long history is kept small on disk.

Continuous glucose makes 12,000 observations in the time that a history is kept. As records they are 60 bytes
each; as columns of differences, some three. Full blocks of a history are packed once and their bytes kept; the
tail, which changes with every reading, stays records.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.history import Observation, observation_digest

SCALES = (1.0, 10.0, 100.0, 1000.0)
"""Decimals that devices show; a column that fits none is kept as it is."""

WIDTHS = (np.int8, np.int16, np.int32, np.int64)


class _Column(msgspec.Struct, array_like=True):
    """Whole numbers: the first, then differences in the narrowest type. `width` 0: all are the first."""

    first: int
    width: int
    data: bytes


class _Values(msgspec.Struct, array_like=True):
    """One number of each observation of a kind: whole numbers of 1/scale, or float64 where scale is 0.
    `missing` has a bit for each observation without the number; empty when none is missing."""

    scale: float
    numbers: _Column | None
    floats: bytes
    missing: bytes


class _Block(msgspec.Struct, array_like=True):
    words: list[Any]
    at_ms: _Column
    offset_min: _Column
    device: _Column
    epoch: _Column
    seq: _Column
    kind: _Column
    flags: _Column
    artefact: bytes
    late: bytes
    values: dict[str, list[_Values]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Block).decode


def pack_block(observations: list[Observation]) -> bytes:
    """Pack observations in their order. `unpack_block` gives equal ones back."""
    words: dict[Any, int] = {}
    by_kind: dict[str, list[tuple[float | None, ...]]] = {}
    for o in observations:
        by_kind.setdefault(o.kind, []).append(o.x)
    block = _Block(
        words=[],
        at_ms=_column([o.at_ms for o in observations]),
        offset_min=_column([o.offset_min for o in observations]),
        device=_words([o.device for o in observations], words),
        epoch=_column([o.epoch for o in observations]),
        seq=_column([o.seq for o in observations]),
        kind=_words([o.kind for o in observations], words),
        flags=_words([o.flags for o in observations], words),
        artefact=_bits([o.artefact for o in observations]),
        late=_bits([o.late for o in observations]),
        values={
            kind: [_values([x[place] for x in xs]) for place in range(len(xs[0]))]
            for kind, xs in by_kind.items()
        },
    )
    block.words = list(words)
    return zlib.compress(_encode(block))


def unpack_block(data: bytes) -> list[Observation]:
    """The observations of a block. Raises zlib.error, msgspec.ValidationError for what is none."""
    block = _decode(zlib.decompress(data))
    words = block.words
    at_ms = _numbers(block.at_ms, None)
    n = len(at_ms)
    kinds = [words[i] for i in _numbers(block.kind, n)]
    columns = {kind: iter(_rows(values, kinds.count(kind))) for kind, values in block.values.items()}
    artefact, late = _flags(block.artefact, n), _flags(block.late, n)
    found = []
    for at, offset, device, epoch, seq, kind, flags, bad, tardy in zip(
        at_ms,
        _numbers(block.offset_min, n),
        _numbers(block.device, n),
        _numbers(block.epoch, n),
        _numbers(block.seq, n),
        kinds,
        _numbers(block.flags, n),
        artefact,
        late,
        strict=True,
    ):
        x, marks = next(columns[kind]), tuple(words[flags])
        digest = observation_digest(kind, at, offset, x, marks, bad)
        found.append(Observation(at, offset, words[device], epoch, seq, digest, kind, x, marks, bad, tardy))
    return found


def _column(values: list[int]) -> _Column:
    array = np.asarray(values, dtype=np.int64)
    steps = np.diff(array)
    if not steps.any():
        return _same(int(array[0]), len(values))
    for width in WIDTHS:
        limits = np.iinfo(width)
        if limits.min <= steps.min() and steps.max() <= limits.max:
            return _Column(int(array[0]), np.dtype(width).itemsize, _planes(steps.astype(width)))
    raise AssertionError(
        "a difference of 64-bit numbers does not fit 64 bits"
    )  # unreachable: WIDTHS ends wide


def _words(column: list[Any], words: dict[Any, int]) -> _Column:
    """Places in `words`, which takes in what it lacks. Nearly always all are the same word."""
    known = dict.fromkeys(column)
    for word in known:
        words.setdefault(word, len(words))
    if len(known) == 1:
        return _same(words[column[0]], len(column))
    return _column([words[word] for word in column])


def _same(number: int, count: int) -> _Column:
    return _Column(number, 0, count.to_bytes(4, "little"))


def _planes(array: NDArray[Any]) -> bytes:
    """Bytes of one significance beside each other: the high ones are alike and compress to nothing."""
    return array.view(np.uint8).reshape(len(array), -1).T.tobytes()


def _unplaned(data: bytes, width: int) -> NDArray[Any]:
    planes = np.frombuffer(data, dtype=np.uint8).reshape(width, -1)
    return np.ascontiguousarray(planes.T).view(f"<i{width}").reshape(-1)


def _numbers(column: _Column, n: int | None) -> list[int]:
    if column.width == 0:
        return [column.first] * (int.from_bytes(column.data, "little") if n is None else n)
    steps = _unplaned(column.data, column.width).astype(np.int64)
    return [column.first, *(column.first + np.cumsum(steps)).tolist()]


def _values(values: list[float | None]) -> _Values:
    known = [v for v in values if v is not None]
    missing = _bits([v is None for v in values])
    if not known:
        return _Values(1.0, None, b"", missing)
    array = np.asarray(known, dtype=np.float64)
    signed_zero = bool(np.any(np.signbit(array) & (array == 0.0)))  # -0.0 is no whole number
    for scale in () if signed_zero else SCALES:
        whole = np.rint(array * scale)
        if np.array_equal(whole / scale, array) and np.abs(whole).max() < 2**31:
            return _Values(scale, _column(whole.astype(np.int64).tolist()), b"", missing)
    return _Values(0.0, None, array.tobytes(), missing)


def _rows(values: list[_Values], n: int) -> list[tuple[float | None, ...]]:
    columns: list[list[float | None]] = []
    for one in values:
        missing = _flags(one.missing, n)
        if one.numbers is not None:
            array = np.asarray(_numbers(one.numbers, n - sum(missing)), dtype=np.float64) / one.scale
            known = iter(array.tolist())
        else:
            known = iter(np.frombuffer(one.floats, dtype=np.float64).tolist())
        columns.append([None if gone else next(known) for gone in missing])
    return list(zip(*columns, strict=True)) if columns else [()] * n


def _bits(values: list[bool]) -> bytes:
    return np.packbits(np.asarray(values, dtype=np.bool_)).tobytes() if any(values) else b""


def _flags(data: bytes, n: int) -> list[bool]:
    if not data:
        return [False] * n
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=n)
    return [bool(bit) for bit in bits.tolist()]
