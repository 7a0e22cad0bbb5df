"""From bytes to JSON objects: bounds, splitting an array, doubled keys, nesting.

msgspec does the parsing. It keeps the last of two equal keys and skips what a type does not name, so the
two questions that it does not answer are asked here: is a key named twice, and how deep does it go.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import msgspec

from devices.refusals import Reason, refuse

MAX_PAYLOAD_BYTES: Final = 256 * 1024  # contract section 1
MAX_READINGS: Final = 500  # contract section 1: the array of a device that empties its buffer
MAX_LINE_BYTES: Final = 4 * 1024 * 1024  # a line of a file: a day of RR intervals in one reading has 0.8 MB
MAX_DEPTH: Final = 16  # a reading needs 3; the rest is room for optional fields still to come
MAX_INTEGER: Final = 2**53  # beyond it JSON numbers are not exact in every program that reads them

_SPACE: Final = b" \t\r\n"
_decode = msgspec.json.Decoder().decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode

# A string, to be left alone, or a bare word that printf and JavaScript write for what is no number. A string
# without an end runs to the end of the payload: the possessive repetition and the optional quote keep the
# search linear, whatever is sent.
_NOT_NUMBERS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[-+]?(?:nan|infinity|inf)\b', re.DOTALL | re.IGNORECASE)


# The two names, any of their letters as an escape. One search each: a parser for every string would be dear.
_SEQ = re.compile(rb'"(?:s|\\u0073)(?:e|\\u0065)(?:q|\\u0071)"')
_EPOCH = re.compile(
    rb'"(?:e|\\u0065)(?:p|\\u0070)(?:o|\\u006[fF])(?:c|\\u0063)(?:h|\\u0068)"',
)

Message = TypeVar("Message")


def json_decoder(kind: type[Message]) -> Callable[[bytes], Message]:
    """A decoder of JSON messages of a kind that raises msgspec.DecodeError and nothing else. msgspec's own lets
    two others through: for bytes that are no UTF-8, and for nesting in a field that it would skip."""
    decode = msgspec.json.Decoder(kind).decode

    def checked(message: bytes) -> Message:
        try:
            return decode(message)
        except (UnicodeDecodeError, RecursionError) as error:
            raise msgspec.DecodeError(str(error)) from None

    return checked


class _Identity(msgspec.Struct):
    """What is read from an element that is refused. Everything else in it is skipped unread."""

    seq: Any = None
    epoch: Any = None


_decode_identity = msgspec.json.Decoder(_Identity).decode


def split(payload: bytes) -> list[bytes]:
    """The elements of an MQTT payload, each as the bytes that came. Raises Problem for the whole payload.

    An element may still be no JSON of ours: `parse` says so for each alone. NaN in one reading would make
    the whole array no JSON; it is split nevertheless, so that only that reading is refused.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        refuse(
            Reason.TOO_LARGE, f"payload: {len(payload)} bytes came; at most {MAX_PAYLOAD_BYTES} are allowed"
        )
    body = payload.strip(_SPACE)
    if not body.startswith(b"["):
        return [body]
    try:
        elements = [bytes(raw) for raw in _split(body)]
    except RecursionError:
        refuse(Reason.TOO_DEEP, f"payload: nested beyond the parser's depth; {MAX_DEPTH} levels are allowed")
    except ValueError as error:
        elements = _split_despite_nan(body, error)
    if len(elements) > MAX_READINGS:
        refuse(Reason.TOO_MANY, f"payload: {len(elements)} readings came; at most {MAX_READINGS} are allowed")
    return elements


def _split_despite_nan(body: bytes, error: ValueError) -> list[bytes]:
    blanked = _blank(body)
    try:
        pieces = [bytes(raw) for raw in _split(blanked)]
    except (ValueError, RecursionError):
        refuse(Reason.NOT_JSON, f"payload: {error}; a reading or an array of readings in JSON is expected")
    # Blanking keeps every offset. Between two elements stand only commas and spaces, so searching from
    # the end of the last finds the next where it is.
    elements, at = [], 0
    for piece in pieces:
        at = blanked.index(piece, at)
        elements.append(body[at : at + len(piece)])
        at += len(piece)
    return elements


def _blank(body: bytes) -> bytes:
    """Put a string of blanks of the same width where NaN or Infinity stand outside strings."""
    blanked: bytearray | None = (
        None  # changed in place: a million strings between are not to be copied one by one
    )
    for match in _NOT_NUMBERS.finditer(body):
        start, end = match.span()
        if body[start] != _QUOTE:
            blanked = blanked or bytearray(body)
            blanked[start:end] = b'"%b"' % (b" " * (end - start - 2))
    return body if blanked is None else bytes(blanked)


_QUOTE: Final = ord('"')


def parse(raw: bytes) -> object:
    """Decode one element strictly. Raises Problem: not-json, too-deep, duplicate-key or out-of-range."""
    try:
        message = _decode(raw)
    except RecursionError:
        refuse(Reason.TOO_DEEP, f"element: nested beyond the parser's depth; {MAX_DEPTH} levels are allowed")
    except msgspec.ValidationError as error:  # JSON, but a number that no double holds
        refuse(Reason.OUT_OF_RANGE, f"element: {error}; numbers must fit a double")
    except UnicodeDecodeError as error:
        refuse(Reason.NOT_JSON, f"element: not UTF-8 ({error.reason} at byte {error.start} of a string)")
    except ValueError as error:
        hint = "; NaN and Infinity are no JSON: leave the value out" if _blank(raw) != raw else ""
        refuse(Reason.NOT_JSON, f"element: {error or 'no JSON'}{hint}")
    strings = _count_strings(message, 1)
    # Without escapes every string has exactly two quotes, and a doubled key is one string too many.
    if b"\\" in raw or raw.count(b'"') != 2 * strings:
        _refuse_doubled_keys(raw)
    return message


def _count_strings(node: object, depth: int) -> int:
    """Keys and string values below `node`. Raises Problem beyond MAX_DEPTH."""
    if depth > MAX_DEPTH:
        refuse(Reason.TOO_DEEP, f"element: nested more than {MAX_DEPTH} levels deep, which no reading is")
    children: Iterable[object]
    if type(node) is dict:
        count, children = len(node), node.values()
    elif type(node) is list:
        count, children = 0, node
    else:
        return int(type(node) is str)
    for child in children:
        kind = type(child)
        if kind is str:
            count += 1
        elif kind is dict or kind is list:
            count += _count_strings(child, depth + 1)
    return count


def _refuse_doubled_keys(raw: bytes) -> None:
    """The slow, sure way: the standard parser shows every pair."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            twice = next(name for name, times in Counter(name for name, _ in items).items() if times > 1)
            refuse(Reason.DUPLICATE_KEY, f"{twice[:40]!r}: named twice in one object; once is allowed")
        return found

    try:
        json.loads(raw, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        refuse(Reason.NOT_JSON, f"element: {error}")


def identity(raw: bytes) -> tuple[int | None, int]:
    """(seq, epoch) of a refused element, as far as they can be read; (None, 0) where they cannot.

    Never guessed from broken JSON: a device would forget a reading that it was not told about. Of two
    equal keys neither is believed.
    """
    if _named_twice(raw):
        return None, 0
    try:
        found = _decode_identity(raw)
    except (ValueError, RecursionError):
        try:
            found = _decode_identity(_blank(raw))
        except (ValueError, RecursionError):
            return None, 0
    return natural(found.seq), natural(found.epoch) or 0


def _named_twice(raw: bytes) -> bool:
    """Whether `seq` or `epoch` stand twice, escaped or not. A value of that text counts too: rather none than a
    wrong one."""
    if b"\\" not in raw:
        return raw.count(b'"seq"') > 1 or raw.count(b'"epoch"') > 1
    return len(_SEQ.findall(raw)) > 1 or len(_EPOCH.findall(raw)) > 1


def natural(value: object) -> int | None:
    """The whole number from 0 to MAX_INTEGER that `value` is, 7.0 included; None for anything else."""
    if type(value) is int and 0 <= value <= MAX_INTEGER:
        return value
    if type(value) is float and value.is_integer() and 0 <= value <= MAX_INTEGER:
        return int(value)
    return None
