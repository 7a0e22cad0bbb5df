"""Structure-aware mutation: a valid JSON message with something wrong in it, and bytes that are none.

A message is a tree of `Pairs` (an object: pairs, so that a key can stand twice), lists and scalars; a `Token` is
written as it is, so that NaN, 1e400 or a lone surrogate can stand where a value belongs. Everything is drawn from
the `Random` that is given: one seed, one input.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from random import Random
from typing import Any

GIANT = 300_000
"""Bytes of a giant string: more than the contract's 256 KiB."""


class Token(bytes):
    """Bytes that stand in the JSON as they are."""


class Pairs(list[tuple[Any, Any]]):
    """An object, as pairs of key and value."""


def tree(value: Any) -> Any:
    """A JSON value as a tree to mutate."""
    if isinstance(value, dict):
        return Pairs((key, tree(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return [tree(item) for item in value]
    return value


def write(node: Any) -> bytes:
    """The tree as JSON, or as what a mutation made of it."""
    if isinstance(node, Token):
        return bytes(node)
    if isinstance(node, Pairs):
        return b"{" + b",".join(write(key) + b":" + write(item) for key, item in node) + b"}"
    if isinstance(node, list):
        return b"[" + b",".join(map(write, node)) + b"]"
    return json.dumps(node, ensure_ascii=False).encode(errors="surrogatepass")


WHOLE_TOKENS = [
    b"1e308", b"-1e308", b"5e-324", b"-0", b"-0.0", b"0", b"-1", b"1.5", b"1e0", b"7.0", b"9007199254740992",
    b"9007199254740993", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"1E+2",
    b"18446744073709551616", b"1" + b"0" * 30, b"9" * 300, b"0." + b"1" * 400, b"true", b"false", b"null", b"[]", b"{}",
    b"[[]]", b'""', b'"\\u0000"', b'"\\ud83d\\ude00"', b"3.0000000000000001", b'"1"', b'"true"', b"100000",
]  # fmt: skip
"""What is JSON, though no value that belongs anywhere."""

ODD_TOKENS = [
    b"NaN", b"nan", b"-nan", b"Infinity", b"-Infinity", b"inf", b"+inf", b"1e400", b"-1e400", b"1e308", b"-1e308",
    b"5e-324", b"1e-400", b"-0", b"-0.0", b"0", b"-1", b"1.5", b"1e0", b"7.0", b"9007199254740992",
    b"9007199254740993", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809",
    b"18446744073709551616", b"1" + b"0" * 30, b"9" * 400, b"9" * 5000, b"0." + b"1" * 400, b"01", b"+1", b".5",
    b"1.", b"0x10", b"true", b"false", b"null", b"True", b"None", b"undefined", b"", b"[]", b"{}", b"[[]]", b'""',
    b'"\\u0000"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"',
    b'"\xf4\x90\x80\x80"', b'"\x00"', b'"\n"', b"'single'", b'"unclosed', b'"\\x"', b"/* */ 1", b"1 // x", b"1,",
    b"1e5", b"100000", b"3.0000000000000001", b"1E+2", b'"1"', b'"true"', b"1_000", "٣".encode(),
]  # fmt: skip

ODD_TEXTS = [
    "", " ", "\x00", "a\x00b", "\n", "é" * 40, "😀", "x" * 70, "x" * 5_000, "../../etc/passwd", "%s%n", "{0}", "{x.y}",
    "NaN", "null", "-1", "ﬀ", "İ", "ß", "\u202e", "\ufeff", "a" * 64, "a" * 65, "a/b", "a+b", "#", "$SYS", "__class__",
]  # fmt: skip

ODD_TIMES = [
    "0001-01-01T00:00:00+18:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999-18:00", "9999-12-31T23:59:59Z",
    "1969-12-31T00:00:00Z", "1969-12-30T23:59:59.999Z", "1970-01-01T00:00:00+14:00", "2199-12-31T23:59:59.999Z",
    "2200-01-01T00:00:00Z", "2026-02-29T00:00:00Z", "2024-02-29T23:59:59+18:00", "2026-11-22T24:00:00Z",
    "2026-11-22T23:59:60Z", "2026-11-22T07:31:05", "2026-11-22T07:31:05+18:01", "2026-11-22T07:31:05-18:00",
    "2026-11-22T07:31:05-00:00", "2026-11-22T07:31:05+00:60", "2026-11-22 07:31:05z", "2026-11-22t07:31:05.1z",
    "2026-11-22T07:31:05.123456789Z", "2026-11-22T07:31:05.1234567890Z", "２０２６-11-22T07:31:05Z",
    "2026-11-22T07:31:05+０１:00", "2026-11-22T07:31:05.５Z", "2026-11-22T07:31:05Z\n", "20261122T073105Z",
    "2026-W47-7T07:31:05Z", "2026-11-22T07:31Z", "2026-10-25T02:30:00+01:00", "2026-03-29T02:30:00+01:00",
    "2026-10-18T07:31:05+02:00", "2026-11-08T07:31:05.000+00:30", "2026-11-22T06:41:20Z", "2026-11-22T06:41:20.001Z",
    "now", "1763796665", "+002026-11-22T07:31:05Z", "-0001-01-01T00:00:00Z", "2026-00-00T00:00:00Z",
]  # fmt: skip


def deep(rng: Random, levels: int | None = None) -> Token:
    """Arrays or objects in each other, closed or not."""
    count = levels or rng.choice([15, 16, 17, 100, 1_000, 10_000, 100_000])
    opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
    body = opening * count + (b"1" if rng.random() < 0.7 else b"")
    return Token(body + closing * count if rng.random() < 0.7 else body)


def huge(rng: Random) -> Token:
    """A long array, object or string."""
    count = rng.choice([501, 5_000, 40_000])
    kind = rng.randrange(7)
    if kind == 0:
        return Token(
            b"[" + b",".join([rng.choice([b"0", b"1.5", b"{}", b"null", b"NaN", b'""'])] * count) + b"]"
        )
    if kind == 1:
        return Token(b"{" + b",".join(b'"k%d":%d' % (i, i) for i in range(count)) + b"}")
    if kind == 2:
        return Token(b"{" + b",".join([b'"k":1'] * count) + b"}")
    if kind == 3:
        return Token(
            b'"' + rng.choice([b"x", b"\\n", b"\\u0041", b"\\\\", "é".encode()]) * (GIANT // 6) + b'"'
        )
    if kind == 4:
        return Token(b'"' * count)
    if kind == 5:
        return Token(b'"' + b"\\" * count)
    return Token(b"[" + b",".join([b"nan"] * count) + b"]")


def scalar(rng: Random, words: Sequence[str] = ()) -> Any:
    """A value that does not belong, or one that does belong elsewhere."""
    kind = rng.randrange(10)
    if kind < 4:
        return Token(rng.choice(ODD_TOKENS if rng.random() < 0.25 else WHOLE_TOKENS))
    if kind < 5:
        return rng.choice(ODD_TEXTS)
    if kind < 6 and words:
        return rng.choice(words)
    if kind < 7:
        return rng.choice(ODD_TIMES)
    if kind < 8:
        return rng.choice([1, -1]) * rng.choice(
            [0, 1, 2, 7, 39, 50, 100, 280, 500, 1000, 2**31, 2**53, 2**63, 10**40]
        )
    if kind < 9:
        return rng.choice(
            [rng.uniform(-10, 500), rng.expovariate(0.01), rng.random() * 1e-9, rng.uniform(0, 1e300)]
        )
    return (
        deep(rng)
        if rng.random() < 0.1
        else huge(rng)
        if rng.random() < 0.02
        else rng.choice([True, False, None])
    )


Place = tuple[Any, int]


def places(node: Any) -> list[Place]:
    """Every value of the tree: the container that holds it and where."""
    found: list[Place] = []
    stack = [node]
    while stack:
        container = stack.pop()
        for index, item in enumerate(container):
            found.append((container, index))
            child = item[1] if isinstance(container, Pairs) else item
            if isinstance(child, list):
                stack.append(child)
    return found


def get(place: Place) -> Any:
    container, index = place
    return container[index][1] if isinstance(container, Pairs) else container[index]


def put(place: Place, value: Any) -> None:
    container, index = place
    container[index] = (container[index][0], value) if isinstance(container, Pairs) else value


def escaped(text: str) -> Token:
    """A text with every character as an escape: the same to a parser, not to who looks for bytes."""
    units = text.encode("utf-16-be", errors="surrogatepass")
    return Token(
        b'"' + b"".join(b"\\u%02x%02x" % (units[i], units[i + 1]) for i in range(0, len(units), 2)) + b'"'
    )


def mutate_tree(root: list[Any], rng: Random, words: Sequence[str] = ()) -> None:
    """Do one wrong thing somewhere below `root`, in place."""
    found = places(root)
    if not found:
        root.append(scalar(rng, words))
        return
    place = rng.choice(found)
    if place[0] is root and len(found) > len(root) and rng.random() < 0.9:
        place = rng.choice(found[len(root) :])
    container, index = place
    value = get(place)
    what = rng.randrange(12)
    if what < 4:
        put(place, rng.choice(ODD_TIMES) if _is_time(value) and rng.random() < 0.7 else scalar(rng, words))
    elif what == 4:
        del container[index]
    elif what == 5:
        container.insert(rng.randint(0, len(container)), deepcopy(container[index]))
    elif what == 6:
        other = rng.choice(found)
        first, second = deepcopy(get(place)), deepcopy(get(other))  # copies: one may hold the other
        put(place, second)
        put(other, first)
    elif what == 7 and isinstance(container, Pairs):
        key = container[index][0]
        text = key if isinstance(key, str) else "k"
        new = rng.choice(
            [escaped(text), text.upper(), text + " ", text[:-1], rng.choice([*words, *ODD_TEXTS, "x"])]
        )
        container[index] = (new, value)
    elif what == 8 and isinstance(container, Pairs):
        again = rng.choice([container[index][0], escaped(str(container[index][0]))])
        container.append((again, scalar(rng, words)))
    elif what == 9:
        put(
            place,
            rng.choice(
                [
                    [value],
                    Pairs([("value", value)]),
                    [value] * rng.choice([2, 20, 600] if len(found) < 400 else [2]),
                ]
            ),
        )
    elif what == 10 and isinstance(value, int | float) and not isinstance(value, bool):
        put(
            place, rng.choice([value + 1, value - 1, -value, value * 10, value / 3, value * 1e6, value + 0.5])
        )
    elif what == 11 and isinstance(value, str):
        put(place, mangled(value, rng))
    else:
        put(place, scalar(rng, words))


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and len(value) > 18 and value[4:5] == "-" and "T" in value


def mangled(text: str, rng: Random) -> Any:
    """A text with a change that somebody's program may make."""
    at = rng.randint(0, len(text))
    return rng.choice(
        [text[:at], text[at:], text + text, text[:at] + rng.choice(ODD_TEXTS) + text[at:], text.upper(), escaped(text),
         text[::-1], text + "=", text[:at] + chr(rng.randrange(0x3000)) + text[at:]]
    )  # fmt: skip


def mutate_bytes(data: bytes, rng: Random) -> bytes:
    """Change bytes without regard to what they mean."""
    what = rng.randrange(14)
    a, b = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
    b = min(b, a + 4_096)
    if what == 0:
        return data[:a]
    if what == 1:
        return data[:a] + data[b:]
    if what == 2:
        return data[:b] + data[a:b] * rng.choice([1, 2, 50]) + data[b:]
    if what in (3, 4, 5) and data:
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 8])):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if what == 6:
        return data[:a] + rng.randbytes(rng.choice([1, 2, 16])) + data[a:]
    if what == 7:
        return data[:a] + rng.choice(ODD_TOKENS) + data[a:]
    if what == 8:
        return rng.choice([b"\xef\xbb\xbf", b"\xff\xfe", b" \n", b"\x00", b"[", b'"', b"\\"]) + data
    if what == 9:
        return data + rng.choice([b"\x00", b"\n", b",", b"]", b"}", b"\xef\xbb\xbf", data, b" " * 1_000])
    if what == 10:
        text = data.decode("utf-8", errors="replace")
        return text.encode(
            rng.choice(["utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1", "cp037"]), errors="replace"
        )
    if what == 11:
        return data.replace(b"/", b"\xc0\xaf").replace(b"2", b"\xc0\xb2" if rng.random() < 0.1 else b"2")
    if what == 12:
        return data[:a] + rng.choice(ODD_TOKENS) + data[b:]
    return rng.randbytes(rng.choice([0, 1, 2, 7, 30, 300]))


def bomb(rng: Random) -> bytes:
    """What somebody sends who wishes the platform ill: large, deep, or dear to look at."""
    size = rng.choice([256 * 1024 - 64, 256 * 1024, 256 * 1024 + 1, 1_048_576, 10_000_000])
    unit = rng.choice(
        [b"[", b"{", b'{"a":', b'"', b"\\", b"\\\"", b"[],", b"nan,", b"-", b"1", b"0,", b"\x00", b"\xff", b" ", b'"",',
         b"[nan,", b'"seq":1,', b"-infinity", b'{"seq":NaN},', b"in", b"\xef\xbb\xbf", b'"\\u', b"[[1,2],", b"1e"]
    )  # fmt: skip
    start, end = rng.choice([(b"", b""), (b"[", b"]"), (b'{"x":[', b"]}"), (b"[", b"")])
    body = (unit * (size // len(unit) + 1))[: size - len(start) - len(end)]
    return start + body.rstrip(b",") + end


def message(
    rng: Random, valid: Callable[[Random], Any], words: Sequence[str] = (), bombs: float = 0.004
) -> bytes:
    """One input made from a valid message: now and then whole, mostly changed in a few places."""
    if rng.random() < bombs:
        return bomb(rng)
    root = [tree(valid(rng))]
    for _ in range(rng.choice([0, 0, 1, 1, 1, 1, 2, 2, 3, 5])):
        mutate_tree(root, rng, words)
    data = b",".join(map(write, root))
    for _ in range(rng.choice([0, 0, 0, 0, 0, 0, 0, 1, 1, 2])):
        data = mutate_bytes(data, rng)
    return data


def draws(seed: int) -> Iterator[Random]:
    """A source of chance for each input of a run."""
    number = 0
    while True:
        yield Random(f"{seed}:{number}")
        number += 1
