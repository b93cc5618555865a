"""Good, hostile and broken records, each with the verdict that everybody must give it.

The verdicts are stated by hand. Those of the mutations at the end come from ``_stated``, which
reads Avro and applies the rules in its own words, so that it shares no error with the product.
"""

from __future__ import annotations

import math
import random
import struct
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.records import MAX_AGE_MS, MAX_AMOUNT, MAX_ID_BYTES, Transaction, encode

VALID = "valid"
DAY_MS = 86_400_000
UNKNOWN_SCHEMA_ID = 987_654

Value = Callable[[int, int], bytes | None]
"""(schema id, arrival in ms) → the value of a Kafka record."""

TEXTS = {
    "transaction_id": "an-id-of-this-case",
    "sender_account": "a-sender",
    "receiver_account": "a-receiver",
    "transaction_type": "payment",
    "transaction_status": "completed",
}
"""The text fields in their order; the timestamp and the amount follow the first."""


@dataclass(frozen=True)
class Case:
    """One record; ``verdict`` is ``VALID`` or a reason of ``pipeline.records.REASONS``."""

    name: str
    value: Value
    verdict: str


def transaction(name: str, arrival_ms: int, **changes: Any) -> Transaction:
    """Return a good transaction of its own account, with ``changes``."""
    good = {
        "transaction_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{name}-{arrival_ms}")),
        "transaction_timestamp": arrival_ms,
        "transaction_amount": 42.5,
        "sender_account": f"corpus-{name}",
        "receiver_account": "corpus-receiver",
        "transaction_type": "payment",
        "transaction_status": "completed",
    }
    return good | changes  # type: ignore[return-value]


def _record(name: str, verdict: str, **changes: Any) -> Case:
    return Case(
        name, lambda schema_id, now: encode(transaction(name, now, **changes), schema_id), verdict
    )


def _timed(name: str, verdict: str, time_ms: Callable[[int], int]) -> Case:
    return Case(
        name,
        lambda schema_id, now: encode(
            transaction(name, now, transaction_timestamp=time_ms(now)), schema_id
        ),
        verdict,
    )


def _shifted(name: str, verdict: str, shift_ms: int) -> Case:
    return _timed(name, verdict, lambda now: now + shift_ms)


def _bytes(name: str, change: Callable[[bytes], bytes | None]) -> Case:
    return Case(
        name,
        lambda schema_id, now: change(encode(transaction(name, now), schema_id)),
        "undecodable",
    )


def _number(value: int, width: int = 1) -> bytes:
    """Return the zigzag varint of a long, of at least ``width`` bytes."""
    rest = value * 2 if value >= 0 else -value * 2 - 1
    groups = []
    while rest or len(groups) < width:
        groups.append(rest % 128)
        rest //= 128
    return bytes(128 + group for group in groups[:-1]) + bytes(groups[-1:] or [0])


def _text(value: bytes) -> bytes:
    return _number(len(value)) + value


def _pieces(name: str, now: int) -> dict[str, bytes]:
    """Return the encoded fields of a good transaction of the case ``name``."""
    texts = {field: _text(text.encode()) for field, text in TEXTS.items()}
    first = {
        "transaction_id": _text(f"{name}-{now}".encode()),
        "transaction_timestamp": _number(now),
        "transaction_amount": struct.pack("<d", 42.5),
    }
    return first | {field: texts[field] for field in texts.keys() - first.keys()}


def _ordered(pieces: dict[str, bytes]) -> list[bytes]:
    first, *others = TEXTS
    fields = (first, "transaction_timestamp", "transaction_amount", *others)
    return [pieces[field] for field in fields]


def _raw(name: str, verdict: str, *, behind: bytes = b"", **changes: bytes) -> Case:
    """A record of which some fields are replaced by other bytes, with ``behind`` after them."""

    def value(schema_id: int, now: int) -> bytes:
        body = b"".join(_ordered(_pieces(name, now) | changes))
        return struct.pack(">bI", 0, schema_id) + body + behind

    return Case(name, value, verdict)


def _cut(name: str, fields: int, extra: int = 0) -> Case:
    """A record that ends ``extra`` bytes after its first ``fields`` fields."""

    def value(schema_id: int, now: int) -> bytes:
        pieces = _ordered(_pieces(name, now))
        length = sum(map(len, pieces[:fields])) + extra
        return struct.pack(">bI", 0, schema_id) + b"".join(pieces)[:length]

    return Case(name, value, "undecodable")


def _with_id(name: str, schema_id: int) -> Case:
    """A record of a schema id that the topic does not have."""
    header = b"\x00" + schema_id.to_bytes(4, "big", signed=schema_id < 0)
    return _bytes(name, lambda good: header + good[5:])


def _amount_of_bits(name: str, verdict: str, bits: int) -> Case:
    return _raw(name, verdict, transaction_amount=bits.to_bytes(8, "little"))


GOOD = (
    _record("good", VALID),
    _record("smallest_amount", VALID, transaction_amount=5e-324),
    _record("smallest_normal_amount", VALID, transaction_amount=2.2250738585072014e-308),
    _record("amount_without_exact_cents", VALID, transaction_amount=0.1 + 0.2),
    _record("largest_amount", VALID, transaction_amount=MAX_AMOUNT),
    _record("longest_ids", VALID, transaction_id="i" * MAX_ID_BYTES, receiver_account="é" * 32),
    _record("longest_account_of_emoji", VALID, sender_account="💶" * 16),
    _record("account_of_one_byte", VALID, sender_account="a"),
    _record("account_of_a_blank", VALID, sender_account=" "),
    _record("script_as_account", VALID, receiver_account="<script>alert(1)</script>"),
    _record("cql_as_account", VALID, sender_account="x'; DROP TABLE fraud.transactions; --"),
    _record("path_as_account", VALID, sender_account="../../etc/passwd"),
    _record("template_as_account", VALID, sender_account="{{ 7 * 7 }}${jndi:ldap://a/b}%n%s"),
    _record("formula_as_account", VALID, sender_account="=cmd|'/c calc'!A0"),
    _record("json_as_account", VALID, sender_account='{"a": "b"}\\'),
    _record("byte_order_mark", VALID, sender_account="\ufeffme", receiver_account="me"),
    _record("written_from_right_to_left", VALID, sender_account="\u202eeslaf"),
    _record("line_separator", VALID, sender_account="a\u2028b"),
    _record("last_code_point", VALID, sender_account="\U0010ffff\uffff"),
    _record("replacement_character", VALID, sender_account="lost \ufffd"),
    _record("accounts_that_look_alike", VALID, sender_account="é", receiver_account="e\u0301"),
    _record("accounts_of_other_case", VALID, sender_account="me", receiver_account="ME"),
    _record("accounts_with_and_without_blank", VALID, sender_account="me", receiver_account="me "),
    _record("failed_donation", VALID, transaction_type="donation", transaction_status="failed"),
    *(
        _record(f"type_{name}", VALID, transaction_type=name)
        for name in ("transfer", "deposit", "purchase")
    ),
    _shifted("clock_ahead_by_8_s", VALID, 8_000),
    _shifted("last_moment_that_is_not_future", VALID, 10_000),
    _shifted("last_moment_that_is_not_late", VALID, -60_000),
    _shifted("first_moment_that_is_late", VALID, -60_001),
    _shifted("month_old", VALID, -30 * DAY_MS),
    _shifted("last_moment_that_is_not_too_old", VALID, -MAX_AGE_MS),
    _raw("trailing_bytes", VALID, behind=b"rest"),
    _raw("trailing_bytes_that_are_not_utf8", VALID, behind=b"\xff\xfe"),
    _raw("amount_that_spells_a_replacement", VALID, transaction_amount=b"\xef\xbf\xbd\0\0\0E@"),
    _raw("length_of_two_bytes", VALID, sender_account=_number(1, 2) + b"a"),
    _raw("length_of_ten_bytes", VALID, sender_account=_number(1, 10) + b"a"),
    # Of the tenth byte a long has room for one bit; readers drop the others.
    _raw("length_with_bits_beyond_a_long", VALID, sender_account=b"\x82" + b"\x80" * 8 + b"\x7ea"),
    Case(
        "time_of_ten_bytes",
        lambda schema_id, now: (
            struct.pack(">bI", 0, schema_id)
            + b"".join(
                _ordered(
                    _pieces("time_of_ten_bytes", now) | {"transaction_timestamp": _number(now, 10)}
                )
            )
        ),
        VALID,
    ),
    Case(
        "two_records_in_one",
        lambda schema_id, now: (
            encode(transaction("two_records_in_one", now), schema_id)
            + encode(transaction("second_of_two_records", now), schema_id)
        ),
        VALID,
    ),
)

NOT_OUR_FORMAT = (
    _bytes("null_value", lambda good: None),
    _bytes("empty_value", lambda good: b""),
    _bytes("text", lambda good: b"hello, this is not Avro"),
    _bytes("json", lambda good: b'{"transaction_id": "1"}'),
    _bytes("json_behind_a_header", lambda good: good[:5] + b'{"transaction_id": "1"}'),
    _bytes("xml", lambda good: b"<?xml version='1.0'?><transaction/>"),
    _bytes("avro_object_container", lambda good: b"Obj\x01" + good),
    _bytes("gzip", lambda good: b"\x1f\x8b\x08\x00" + good),
    _bytes("zeros", lambda good: bytes(200)),
    _bytes("ones", lambda good: b"\xff" * 200),
    _bytes("largest_record", lambda good: b"\xff" * 1_047_900),
    _bytes("magic_byte_1", lambda good: b"\x01" + good[1:]),
    _bytes("magic_byte_128", lambda good: b"\x80" + good[1:]),
    _bytes("magic_byte_255", lambda good: b"\xff" + good[1:]),
    _bytes("without_magic_byte", lambda good: good[1:]),
    _bytes("without_header", lambda good: good[5:]),
    _bytes("byte_before_the_header", lambda good: b"\x00" + good),
    _bytes("byte_order_mark_before_the_header", lambda good: b"\xef\xbb\xbf" + good),
    _bytes("header_twice", lambda good: good[:5] + good),
    _bytes("reversed", lambda good: good[::-1]),
    _with_id("unknown_schema", UNKNOWN_SCHEMA_ID),
    _with_id("schema_0", 0),
    _with_id("schema_minus_1", -1),
    _with_id("smallest_schema_id", -(2**31)),
    _with_id("largest_schema_id", 2**31 - 1),
    _bytes("schema_id_of_little_endian", lambda good: good[:1] + good[4:0:-1] + good[5:]),
    # Each letter of it is a length of at least 52 to a reader that expects fields.
    _bytes("amount_as_text", lambda good: good.replace(struct.pack("<d", 42.5), b"\x0842.5")),
    _bytes(
        "amount_as_float",
        lambda good: good.replace(struct.pack("<d", 42.5), struct.pack("<f", 42.5)),
    ),
    _raw("without_type_and_status", "undecodable", transaction_type=b"", transaction_status=b""),
    # A union's branch before the text of "!": that letter is a negative length.
    _raw("union_before_the_id", "undecodable", transaction_id=b"\x02" + _text(b"!" * 40)),
)

TRUNCATED = (
    *(
        _bytes(f"header_of_{size}_bytes", lambda good, size=size: good[:size])
        for size in range(1, 6)
    ),
    _cut("ends_after_the_length_of_the_id", 0, 1),
    _cut("ends_within_the_id", 0, 9),
    _cut("ends_after_the_id", 1),
    _cut("ends_within_the_time", 1, 3),
    _cut("ends_after_the_time", 2),
    _cut("ends_within_the_amount", 2, 1),
    _cut("ends_before_the_last_byte_of_the_amount", 2, 7),
    _cut("ends_after_the_amount", 3),
    _cut("ends_within_the_sender", 3, 4),
    _cut("ends_after_the_sender", 4),
    _cut("ends_within_the_receiver", 4, 4),
    _cut("ends_after_the_receiver", 5),
    _cut("ends_within_the_type", 5, 4),
    _cut("ends_after_the_type", 6),
    _cut("ends_before_the_last_byte", 7, -1),
)

MEBIBYTE = 2**20
LENGTHS = (
    *(_raw(f"length_minus_1_of_{field}", "undecodable", **{field: b"\x01"}) for field in TEXTS),
    *(
        _raw(f"length_of_a_gibibyte_of_{field}", "undecodable", **{field: _number(2**30) + b"a"})
        for field in TEXTS
    ),
    _raw("length_minus_2_to_the_63", "undecodable", sender_account=_number(-(2**63))),
    _raw("length_of_17_mebibytes", "undecodable", sender_account=_number(17 * MEBIBYTE) + b"a"),
    _raw("largest_array_of_java", "undecodable", sender_account=_number(2**31 - 9) + b"a"),
    _raw("length_of_an_int", "undecodable", sender_account=_number(2**31 - 1) + b"a"),
    _raw("length_beyond_an_int", "undecodable", sender_account=_number(2**32 + 1) + b"a"),
    _raw("length_of_a_long", "undecodable", sender_account=_number(2**63 - 1) + b"a"),
    _raw("length_of_eleven_bytes", "undecodable", sender_account=_number(1, 11) + b"a"),
    _raw("time_of_eleven_bytes", "undecodable", transaction_timestamp=_number(1, 11)),
    _raw("time_without_end", "undecodable", transaction_timestamp=b"\x80" * 300),
    _raw(
        "length_one_beyond_the_record", "undecodable", transaction_status=_number(10) + b"completed"
    ),
)

MALFORMED_UTF8 = {
    "byte_255": b"a\xff",
    "lone_continuation": b"a\x80b",
    "cut_of_two_bytes": b"a\xc3",
    "cut_of_three_bytes": b"a\xe2\x82",
    "cut_of_four_bytes": b"a\xf0\x9f\x92",
    "overlong_nul": b"a\xc0\x80",
    "overlong_slash": b"..\xe0\x80\xaf",
    "overlong_of_four_bytes": b"\xf0\x80\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "pair_of_surrogates": b"\xed\xa0\xbd\xed\xb2\xb8",
    "beyond_unicode": b"\xf4\x90\x80\x80",
    "five_bytes": b"\xf8\x88\x80\x80\x80",
    "latin_1": "café".encode("latin-1"),
    "utf_16_with_its_mark": "me".encode("utf-16"),
    "replacement_character_beside_it": b"\xff\xef\xbf\xbd",
    "replacement_character_cut": b"a\xef\xbf",
}
TEXT_THAT_IS_NOT_UTF8 = (
    *(_raw(f"not_utf8_{field}", "undecodable", **{field: _text(b"a\xff")}) for field in TEXTS),
    *(
        _raw(f"not_utf8_{name}", "undecodable", sender_account=_text(text))
        for name, text in MALFORMED_UTF8.items()
    ),
    # Whoever compares how many replacement characters are in the texts and in the bytes is misled.
    _raw(
        "not_utf8_with_an_amount_that_spells_a_replacement",
        "undecodable",
        transaction_amount=b"\xef\xbf\xbd\0\0\0E@",
        sender_account=_text(b"a\xff"),
    ),
    _raw(
        "not_utf8_with_a_replacement_behind_it",
        "undecodable",
        sender_account=_text(b"a\xff"),
        behind="\ufffd".encode() * 3,
    ),
)

CONTROL = {
    "nul": "a\0b",
    "line_feed": "a\n",
    "carriage_return": "a\r\nSet-Cookie: b",
    "tab": "\ta",
    "escape": "\x1b[31ma",
    "delete": "a\x7f",
    "next_line": "a\x85",
    "last_control_character": "\x9f",
}
IDS = (
    _record("empty_id", "invalid_transaction_id", transaction_id=""),
    _record("id_of_65_bytes", "invalid_transaction_id", transaction_id="i" * 65),
    _record(
        "id_of_64_letters_and_65_bytes", "invalid_transaction_id", transaction_id="i" * 63 + "é"
    ),
    _record("id_of_utf_16", "invalid_transaction_id", transaction_id="i\0d\0"),
    # Almost as large as a record can be in Kafka: a dead letter holds more than the record.
    _record("largest_id", "invalid_transaction_id", transaction_id="i" * 1_047_500),
    _record("empty_sender", "invalid_account", sender_account=""),
    _record("empty_receiver", "invalid_account", receiver_account=""),
    _record("both_accounts_empty", "invalid_account", sender_account="", receiver_account=""),
    _record("sender_of_65_bytes", "invalid_account", sender_account="💶" * 16 + "a"),
    _record("receiver_of_66_bytes", "invalid_account", receiver_account="é" * 33),
    _record("receiver_of_100_kilobytes", "invalid_account", receiver_account="💶" * 25_000),
    *(
        _record(f"id_with_{name}", "invalid_transaction_id", transaction_id=text)
        for name, text in CONTROL.items()
    ),
    *(
        _record(f"sender_with_{name}", "invalid_account", sender_account=text)
        for name, text in CONTROL.items()
    ),
    _record("receiver_with_nul", "invalid_account", receiver_account="\0"),
    _record("to_itself", "same_account", sender_account="me", receiver_account="me"),
    _record(
        "emoji_to_itself", "same_account", sender_account="💶" * 16, receiver_account="💶" * 16
    ),
)

AMOUNTS = (
    _record("amount_zero", "invalid_amount", transaction_amount=0.0),
    _record("amount_minus_zero", "invalid_amount", transaction_amount=-0.0),
    _record("amount_negative", "invalid_amount", transaction_amount=-1.0),
    _record("smallest_negative_amount", "invalid_amount", transaction_amount=-5e-324),
    _record("amount_infinite", "invalid_amount", transaction_amount=math.inf),
    _record("amount_minus_infinite", "invalid_amount", transaction_amount=-math.inf),
    _record("amount_nan", "invalid_amount", transaction_amount=math.nan),
    _amount_of_bits("amount_negative_nan", "invalid_amount", 0xFFF8_0000_0000_0000),
    _amount_of_bits("amount_signalling_nan", "invalid_amount", 0x7FF0_0000_0000_0001),
    _amount_of_bits("amount_nan_with_payload", "invalid_amount", 0x7FFF_FFFF_FFFF_FFFF),
    _record("amount_just_too_large", "invalid_amount", transaction_amount=1_000_000_000_000.0001),
    _record("amount_overflow", "invalid_amount", transaction_amount=1e308),
    _record("largest_double", "invalid_amount", transaction_amount=1.7976931348623157e308),
)

WORDS = (
    _record("unknown_type", "unknown_type", transaction_type="refund"),
    _record("empty_type", "unknown_type", transaction_type=""),
    _record("type_in_capitals", "unknown_type", transaction_type="PAYMENT"),
    _record("type_with_a_capital", "unknown_type", transaction_type="Payment"),
    _record("type_before_a_blank", "unknown_type", transaction_type="payment "),
    _record("type_after_a_blank", "unknown_type", transaction_type=" payment"),
    _record("type_before_a_line_feed", "unknown_type", transaction_type="payment\n"),
    _record("type_before_nul", "unknown_type", transaction_type="payment\0"),
    _record("type_with_a_wide_letter", "unknown_type", transaction_type="\uff50ayment"),
    _record("type_with_a_cyrillic_letter", "unknown_type", transaction_type="p\u0430yment"),
    _record("type_with_a_soft_hyphen", "unknown_type", transaction_type="pay\u00adment"),
    _record("type_of_100_kilobytes", "unknown_type", transaction_type="payment" * 15_000),
    _record("unknown_status", "unknown_status", transaction_status="pending"),
    _record("empty_status", "unknown_status", transaction_status=""),
    _record("status_in_capitals", "unknown_status", transaction_status="COMPLETED"),
    _record("status_before_a_blank", "unknown_status", transaction_status="failed "),
    _record("status_with_a_cyrillic_letter", "unknown_status", transaction_status="c\u043empleted"),
    _record(
        "status_before_a_zero_width_blank", "unknown_status", transaction_status="failed\u200b"
    ),
)

TIMES = (
    _shifted("first_moment_that_is_future", "future", 10_001),
    _shifted("tomorrow", "future", DAY_MS),
    _timed("time_in_microseconds", "future", lambda now: now * 1000),
    _timed("time_in_nanoseconds", "future", lambda now: now * 1_000_000),
    _record("year_9999", "future", transaction_timestamp=253_402_300_799_999),
    _record("year_10000", "future", transaction_timestamp=253_402_300_800_000),
    _record("beyond_microseconds", "future", transaction_timestamp=2**63 // 1000 + 1),
    _record("year_292278994", "future", transaction_timestamp=2**63 - 1),
    _shifted("first_moment_that_is_too_old", "too_old", -MAX_AGE_MS - 1),
    _shifted("forty_one_days_old", "too_old", -41 * DAY_MS),
    _timed("time_in_seconds", "too_old", lambda now: now // 1000),
    _record("epoch", "too_old", transaction_timestamp=0),
    _record("just_before_the_epoch", "too_old", transaction_timestamp=-1),
    _record("before_the_year_1", "too_old", transaction_timestamp=-62_135_596_800_001),
    _record("before_christ", "too_old", transaction_timestamp=-(2**62)),
    _record("smallest_time", "too_old", transaction_timestamp=-(2**63)),
    _raw("time_with_bits_beyond_a_long", "too_old", transaction_timestamp=b"\xff" * 9 + b"\x7f"),
)

FIRST_RULE = (
    _record("no_id_no_sender", "invalid_transaction_id", transaction_id="", sender_account=""),
    _record("no_account_to_itself", "invalid_account", sender_account="", receiver_account=""),
    _record(
        "to_itself_without_amount",
        "same_account",
        sender_account="me",
        receiver_account="me",
        transaction_amount=0.0,
    ),
    _record("no_amount_no_type", "invalid_amount", transaction_amount=-1.0, transaction_type=""),
    _record("no_type_no_status", "unknown_type", transaction_type="", transaction_status=""),
    _record(
        "no_status_at_the_epoch", "unknown_status", transaction_status="", transaction_timestamp=0
    ),
)


def _mutations(count: int, seed: int) -> Iterator[Case]:
    """Yield records of which a few bytes of one field, not of the time, are drawn at random."""
    rng = random.Random(seed)
    fields = [*TEXTS, "transaction_amount"]
    for number in range(count):
        name = f"mutation_{number}"
        field = rng.choice(fields)
        # The id of a case holds its arrival; here it must be the same at any time.
        pieces = _pieces(name, 0) | {"transaction_id": _text(f"id-of-{name}".encode())}
        changed = bytearray(pieces[field])
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        changes = {"transaction_id": pieces["transaction_id"], field: bytes(changed)}
        yield _raw(name, _stated(b"".join(_ordered(pieces | changes))), **changes)


def _cuts(count: int, seed: int) -> Iterator[Case]:
    """Yield records cut anywhere."""
    rng = random.Random(seed)
    for number in range(count):
        share = rng.random()
        yield _bytes(f"cut_{number}", lambda good, share=share: good[: int(share * len(good))])


def _noise(count: int, seed: int) -> Iterator[Case]:
    """Yield random bytes behind the header of our schema, that begin with a negative length."""
    rng = random.Random(seed)
    for number in range(count):
        rest = rng.randbytes(rng.randrange(200))
        yield _bytes(f"noise_{number}", lambda good, rest=rest: good[:5] + b"\x7f" + rest)


def _stated(body: bytes) -> str:
    """Return the verdict on an Avro body, whatever its time."""
    rest = body

    def take(size: int) -> bytes:
        nonlocal rest
        if not 0 <= size <= len(rest):
            raise EOFError
        taken, rest = rest[:size], rest[size:]
        return taken

    def number() -> int:
        code = 0
        for place in range(10):
            byte = take(1)[0]
            code |= (byte & 127) << (7 * place)
            if byte < 128:
                code %= 2**64
                return -(code + 1) // 2 if code % 2 else code // 2
        raise EOFError

    try:
        transaction_id = take(number()).decode()
        number()
        (amount,) = struct.unpack("<d", take(8))
        sender, receiver, kind, status = (take(number()).decode() for _ in range(4))
    except (EOFError, UnicodeDecodeError):
        return "undecodable"

    def is_id(text: str) -> bool:
        points = [ord(letter) for letter in text]
        is_control = any(point < 32 or 127 <= point < 160 for point in points)
        return 1 <= len(text.encode()) <= 64 and not is_control

    if not is_id(transaction_id):
        return "invalid_transaction_id"
    if not is_id(sender) or not is_id(receiver):
        return "invalid_account"
    if sender == receiver:
        return "same_account"
    if not 0 < amount <= 1_000_000_000_000:
        return "invalid_amount"
    if kind not in ("transfer", "payment", "deposit", "purchase", "donation"):
        return "unknown_type"
    return VALID if status in ("completed", "failed") else "unknown_status"


CORPUS = (
    *GOOD,
    *NOT_OUR_FORMAT,
    *TRUNCATED,
    *LENGTHS,
    *TEXT_THAT_IS_NOT_UTF8,
    *IDS,
    *AMOUNTS,
    *WORDS,
    *TIMES,
    *FIRST_RULE,
    *_mutations(30, seed=1),
    *_cuts(10, seed=2),
    *_noise(10, seed=3),
)
