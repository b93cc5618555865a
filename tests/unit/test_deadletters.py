"""Dead letters: listed, shown, published again on librdkafka's mock cluster, and purge plans."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
from collections.abc import Iterator
from typing import Any

import fastavro
import pytest
from confluent_kafka import Producer

from deadletters import __main__ as command
from deadletters import topic as topic_module
from deadletters.content import UnknownSchema, hex_dump, read
from deadletters.ledger import Entry, Ledger
from deadletters.letters import MARKER, Letter, Position, scan, to_letter
from deadletters.listing import HOUR_MS, HOURS, Tally
from deadletters.purging import PurgePlan
from deadletters.reinjection import CHUNK, CHUNK_BYTES, Reinjection, chunks
from deadletters.selection import Selection, parse_position, parse_selection
from deadletters.showing import MAX_SHOWN, describe
from deadletters.topic import Sender, TopicReader
from pipeline.errors import PipelineError
from pipeline.logs import run_service
from pipeline.names import DEAD_LETTER_TOPIC, REINJECTED_TOPIC, TRANSACTIONS_TOPIC
from pipeline.records import SCHEMA_JSON, encode
from pipeline.settings import Settings, load_settings
from tests.support.corpus import CORPUS, VALID, transaction

ARRIVAL_MS = 1_772_366_400_000  # 2026-03-01 12:00 UTC
SCHEMA_ID = 7
SOURCE_PARTITION = 1


def headers(reason: str, offset: int = 40) -> list[tuple[str, bytes | None]]:
    """Return headers as Connect writes them."""
    said = {
        "topic": TRANSACTIONS_TOPIC.encode(),
        "partition": str(SOURCE_PARTITION).encode(),
        "offset": str(offset).encode(),
        "stage": b"VALUE_CONVERTER" if reason == "undecodable" else b"TASK_PUT",
        "exception.message": f"{reason}: the text".encode(),
    }
    return [(f"__connect.errors.{name}", value) for name, value in said.items()]


def letter(
    offset: int,
    reason: str = "future",
    arrival_ms: int = ARRIVAL_MS,
    value: bytes | None = b"value",
    **changes: Any,
) -> Letter:
    known = Letter(Position(0, offset), arrival_ms, b"key", value, headers(reason))
    return dataclasses.replace(known, **changes)


def find(schema_id: int) -> str:
    if schema_id != SCHEMA_ID:
        raise UnknownSchema(f"the registry has no schema with the id {schema_id}")
    return SCHEMA_JSON


@pytest.fixture
def settings() -> Settings:
    return load_settings(environment={})


# letters


def test_a_letter_tells_its_reason_and_origin() -> None:
    assert (letter(0).reason, letter(0).origin) == ("future", (TRANSACTIONS_TOPIC, 1, 40))
    assert letter(0, "undecodable").reason == "undecodable"


@pytest.mark.parametrize("said", [[], [("__connect.errors.partition", b"x")], [("a", None)]])
def test_a_letter_of_somebody_else_has_no_origin(said: list[tuple[str, bytes | None]]) -> None:
    foreign = letter(0, headers=said)
    assert (foreign.reason, foreign.origin) == ("other", None)


# list


def test_the_list_counts_by_reason_and_hour_and_names_the_newest() -> None:
    letters = [letter(n, "undecodable" if n % 3 else "future") for n in range(9)]
    letters.append(letter(9, "future", ARRIVAL_MS + HOUR_MS))
    lines = Tally(letters, {Position(0, 1): Entry("run", ARRIVAL_MS)}).summary().splitlines()
    words = [line.split() for line in lines]
    assert words[0] == ["transactions.dlq", "holds", "10", "letters"]
    assert ["undecodable", "6", "1"] in words
    assert ["future", "4", "0"] in words
    assert ["2026-03-01", "12:00", "9"] in words
    assert words[-5] == ["2026-03-01", "13:00:00Z", "0/9", "future"]


def test_the_list_stays_small_however_many_hours_and_reasons_there_are() -> None:
    many = (letter(n, f"reason {n}", ARRIVAL_MS + n * HOUR_MS) for n in range(1000))
    tally = Tally(many, {})
    assert len(tally.summary().splitlines()) < 50
    assert tally.reasons == {"other": 1000}
    assert tally.earlier == 1000 - HOURS


# show


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_every_record_of_the_corpus_is_shown_with_its_verdict(
    case: Any, settings: Settings
) -> None:
    value = case.value(SCHEMA_ID, ARRIVAL_MS)
    text = describe(letter(0, value=value), None, settings, find, ARRIVAL_MS)
    verdict = text.splitlines()[-1].removeprefix("if re-injected now: ")
    if case.verdict == VALID:
        assert verdict.startswith(("stored and scored", "late"))
    else:
        assert verdict == f"{case.verdict} again"
    assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize("is_sent_late", [False, True])
def test_the_verdict_is_that_of_an_arrival_now(settings: Settings, is_sent_late: bool) -> None:
    value = encode(transaction("a", ARRIVAL_MS), SCHEMA_ID)
    now_ms = ARRIVAL_MS + is_sent_late * HOUR_MS
    text = describe(letter(0, value=value), None, settings, find, now_ms)
    assert ("late: stored" if is_sent_late else "stored and scored") in text.splitlines()[-1]
    assert "sender_account        = 'corpus-a'" in text


def test_what_can_be_read_comes_before_the_place_where_it_ends() -> None:
    good = encode(transaction("a", ARRIVAL_MS), SCHEMA_ID)
    until = good.index(b"corpus-a") - 1  # its length is the first byte of a text
    content = read(good[: until + 4], find)
    assert list(content.fields) == [
        "transaction_id",
        "transaction_timestamp",
        "transaction_amount",
    ]
    assert content.problem_at == until
    assert content.problem is not None
    assert "field sender_account cannot be read" in content.problem


def test_bytes_after_the_record_are_told() -> None:
    content = read(encode(transaction("a", ARRIVAL_MS), SCHEMA_ID) + b"rest", find)
    assert (content.problem, content.rest) == (None, 4)


@pytest.mark.parametrize(
    ("value", "problem", "at"),
    [
        (None, "there is no value (null)", 0),
        (b"", "the value is empty", 0),
        (b"\x01abcdef", "the first byte is not 0x00 but 0x01", 0),
        (b"\x00\x00\x00", "the value ends within the schema id", 3),
        (b"\x00\x00\x00\x00\x09abc", "the registry has no schema with the id 9", 1),
    ],
)
def test_a_value_without_a_known_schema_says_so(value: bytes | None, problem: str, at: int) -> None:
    content = read(value, find)
    assert (content.problem, content.problem_at) == (problem, at)


@pytest.mark.parametrize("schema", ["{", '"string"', '{"type": "record"}', "[1]", '{"type": "x"}'])
def test_a_schema_that_is_none_is_told(schema: str) -> None:
    content = read(b"\x00\x00\x00\x00\x07abc", lambda schema_id: schema)
    assert content.problem is not None
    assert "schema 7" in content.problem


def test_records_within_records_are_read_where_a_type_is_named_twice() -> None:
    party = {"type": "record", "name": "Party", "fields": [{"name": "iban", "type": "string"}]}
    schema = {
        "type": "record",
        "name": "Booking",
        "fields": [{"name": "debtor", "type": party}, {"name": "creditor", "type": "Party"}],
    }
    body = io.BytesIO()
    record = {"debtor": {"iban": "A"}, "creditor": {"iban": "B"}}
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), record)
    value = b"\x00\x00\x00\x00\x07" + body.getvalue()
    assert read(value, lambda schema_id: json.dumps(schema)).fields == record


def test_a_dump_marks_the_byte_and_stays_short() -> None:
    lines = hex_dump(bytes(range(256)) * 100, 1000)
    marked = next(index for index, line in enumerate(lines) if "^^ byte 1000" in line)
    byte = lines[marked].index("^^")
    assert lines[marked - 1][byte : byte + 2] == f"{1000 % 256:02x}"
    assert len(lines) < 20
    assert lines[-1].endswith("more bytes")


def test_hostile_content_is_escaped_and_cut(settings: Settings) -> None:
    hostile = letter(
        0,
        key=b"\x1b[2Jkey",
        headers=[*headers("future"), ("na\x1bme", b"\x9b1m" + b"x" * 5000), (MARKER, b"t/0/1")],
        value=encode(transaction("a", ARRIVAL_MS, sender_account="\x1b]0;x\x07"), SCHEMA_ID),
    )
    text = describe(hostile, Entry("run", ARRIVAL_MS), settings, find, ARRIVAL_MS)
    assert all(line.isprintable() for line in text.splitlines())
    assert max(map(len, text.splitlines())) < MAX_SHOWN + 100
    assert "stems from   't/0/1'" in text
    assert "re-injected  begun at 2026-03-01 12:00:00Z, but not known to be published" in text


# re-inject, on a broker


@pytest.fixture
def servers() -> Iterator[str]:
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock"})
    brokers = cluster.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    cluster.flush(1)


class Desk:
    """One run of the command; ``ledger`` is what it read when it began."""

    def __init__(self, servers: str) -> None:
        self.reader, self.ledger_reader = TopicReader(servers), TopicReader(servers)
        self.sender = Sender(servers)
        self.ledger = Ledger(self.ledger_reader)

    def reinject(self, selection: Selection | None = None, force: bool = False) -> Reinjection:
        reinjection = Reinjection(TRANSACTIONS_TOPIC, self.ledger, self.sender, force)
        wanted = selection or Selection()
        reinjection.publish(filter(wanted.takes, scan(self.reader)))
        return reinjection

    def published(self) -> list[Letter]:
        bounds = self.reader.bounds(TRANSACTIONS_TOPIC)
        return [
            to_letter(message)
            for partition, (first, end) in bounds.items()
            for message in self.reader.read(TRANSACTIONS_TOPIC, partition, first, end)
        ]

    def close(self) -> None:
        self.reader.close()
        self.ledger_reader.close()


@pytest.fixture
def desks(servers: str) -> Iterator[tuple[Desk, Desk]]:
    """Two runs that begin at once, with three letters in the topic."""
    write = Sender(servers)
    more = ("other", b"kept")
    write.send(DEAD_LETTER_TOPIC, 0, b"key", b"\x00bytes", [*headers("undecodable"), more])
    write.send(DEAD_LETTER_TOPIC, 0, None, None, headers("undecodable"))
    write.send(DEAD_LETTER_TOPIC, 0, b"key", b"future", headers("future"))
    # The mock cluster makes a topic when something is written to it.
    write.send(TRANSACTIONS_TOPIC, 0, b"first", b"first")
    write.send(REINJECTED_TOPIC, 0, b"9/9", b'{"run_id": "first", "published": null}')
    assert write.settle() == []
    both = Desk(servers), Desk(servers)
    yield both
    for desk in both:
        desk.close()


def test_letters_are_published_as_they_came_to_the_partition_they_came_from(
    desks: tuple[Desk, Desk],
) -> None:
    desk, _ = desks
    result = desk.reinject(parse_selection("undecodable"))
    assert result.published == {"undecodable": 2}
    assert [
        (found.position.partition, found.key, found.value, found.headers)
        for found in desk.published()[1:]
    ] == [
        (SOURCE_PARTITION, b"key", b"\x00bytes",
         [("other", b"kept"), (MARKER, b"transactions.dlq/0/0")]),
        (SOURCE_PARTITION, None, None, [(MARKER, b"transactions.dlq/0/1")]),
    ]  # fmt: skip


def test_nothing_is_published_twice_unless_forced(desks: tuple[Desk, Desk], servers: str) -> None:
    desk, _ = desks
    desk.reinject()
    assert len(desk.published()) == 4
    again = Desk(servers)
    result = again.reinject()
    assert (result.published.total(), result.left_out_count) == (0, 3)
    assert "0/0: re-injected before, at" in result.summary()
    assert "as transactions/1/0; FORCE=1" in result.summary()
    assert again.reinject(parse_selection("0/2"), force=True).published == {"future": 1}
    assert len(again.published()) == 5
    again.ledger.refresh()
    assert again.ledger.entries[Position(0, 2)].published == "transactions/1/3"
    again.close()


def test_of_two_runs_at_once_one_publishes(desks: tuple[Desk, Desk]) -> None:
    first, second = desks
    assert first.reinject().published.total() == 3
    result = second.reinject()
    assert result.published.total() == 0
    assert "somebody else re-injects it at this moment" in result.summary()
    assert len(first.published()) == 4


def test_a_run_that_was_killed_after_its_claim_is_not_repeated_unasked(
    desks: tuple[Desk, Desk], servers: str
) -> None:
    killed, _ = desks
    killed.ledger.claim([Position(0, 0)], killed.sender)
    desk = Desk(servers)
    result = desk.reinject()
    assert result.published == {"undecodable": 1, "future": 1}
    assert "begun at" in result.summary()
    assert "not known to be published; FORCE=1" in result.summary()
    desk.close()


def test_letters_of_another_topic_are_left_out(desks: tuple[Desk, Desk], servers: str) -> None:
    write = Sender(servers)
    write.send(DEAD_LETTER_TOPIC, 0, b"key", b"value", [("__connect.errors.topic", b"theirs")])
    assert write.settle() == []
    result = desks[0].reinject(parse_selection("other"))
    assert result.published.total() == 0
    assert "do not name transactions as its origin" in result.summary()


def test_what_is_not_acknowledged_is_an_error_and_counts_as_begun(
    desks: tuple[Desk, Desk], servers: str
) -> None:
    write = Sender(servers)
    nowhere = [(name, b"99" if name.endswith("partition") else value)
               for name, value in headers("too_old")]  # fmt: skip
    write.send(DEAD_LETTER_TOPIC, 0, b"key", b"value", nowhere)
    assert write.settle() == []
    with pytest.raises(PipelineError, match=r"3 letters .* re-injected, then 1 of 4 were not"):
        desks[0].reinject()
    desks[1].ledger.refresh()
    assert desks[1].ledger.entries[Position(0, 3)].published is None


def test_letters_are_taken_in_chunks_that_memory_holds() -> None:
    many = [letter(offset) for offset in range(2 * CHUNK + 1)]
    assert [len(chunk) for chunk in chunks(many)] == [CHUNK, CHUNK, 1]
    large = [letter(offset, value=bytes(CHUNK_BYTES // 2)) for offset in range(4)]
    assert [len(chunk) for chunk in chunks(large)] == [2, 2]
    assert list(chunks([])) == []


def test_every_chunk_is_published(
    desks: tuple[Desk, Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deadletters.reinjection.CHUNK", 2)
    assert desks[0].reinject().published.total() == 3


# purge


def plan(letters: list[Letter], what: str, before_ms: int | None = None) -> PurgePlan:
    return PurgePlan(letters, parse_selection(what), before_ms)


def test_all_is_purged_up_to_the_newest_letter() -> None:
    found = plan([letter(5), letter(6, "too_old")], "all")
    assert (found.ends, found.selected) == ({0: 7}, {"future": 1, "too_old": 1})
    assert (found.others.total(), found.remaining) == (0, 0)


def test_a_reason_is_purged_when_only_its_letters_go() -> None:
    found = plan([letter(0), letter(1), letter(2, "too_old")], "future")
    found.check(Selection("future"))
    assert (found.ends, found.remaining) == ({0: 2}, 1)


def test_a_purge_that_would_take_others_too_is_refused() -> None:
    letters = [letter(0), letter(1, "too_old"), letter(2), letter(3, "too_old")]
    found = plan(letters, "future")
    assert (found.others, found.first_other) == ({"too_old": 1}, Position(0, 1))
    with pytest.raises(PipelineError, match=r"1 letter \(too_old 1\) that PURGE=future does not"):
        found.check(Selection("future"))
    single = plan(letters, "0/1")
    assert single.first_other == Position(0, 0)


def test_a_time_ends_the_purge_at_the_first_letter_that_is_not_older() -> None:
    letters = [letter(0, arrival_ms=1), letter(1, arrival_ms=9), letter(2, arrival_ms=2)]
    found = plan(letters, "all", before_ms=5)
    found.check(Selection())
    assert (found.ends, found.remaining) == ({0: 1}, 2)


def test_nothing_is_purged_when_nothing_is_meant() -> None:
    assert plan([letter(0)], "too_old").ends == {}


# the command


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--show", "17"], "partition/offset, for example 0/17"),
        (["--reinject", "all", "--purge", "all"], "not allowed with"),
        (["--reinject", "futur"], "'futur' is not allowed; give partition/offset, all, or one of"),
        (["--purge", "all", "--before", "yesterday"], "'yesterday' is not allowed; give a time"),
        (["--before", "2026-03-01"], "BEFORE"),
        (["--force"], "FORCE"),
        (["0/17"], "unrecognized arguments"),
    ],
)
def test_wrong_arguments_end_with_one_line(
    arguments: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["deadletters", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert (ended.value.code, expected in line) == (2, True)


def test_the_command_ends_with_one_line_while_kafka_is_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(topic_module, "REQUEST_TIMEOUT_S", 0.2)
    monkeypatch.setenv("FRAUD__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr("sys.argv", ["deadletters"])
    assert run_service(command.main) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: Kafka does not answer at 127.0.0.1:1 (")


def test_the_command_lists_and_shows(
    desks: tuple[Desk, Desk],
    servers: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FRAUD__KAFKA__BOOTSTRAP_SERVERS", servers)
    for arguments, expected in (
        ([], "transactions.dlq holds 3 letters"),
        (["--show", "0/2"], "origin       transactions/1/40"),
        (["--reinject", "future"], "re-injected 1 letter (future 1) into transactions"),
        (["--purge", "too_old"], "purged too_old: 0 letters; 3 remain"),
    ):
        monkeypatch.setattr("sys.argv", ["deadletters", *arguments])
        assert run_service(command.main) == 0
        assert expected in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["deadletters", "--show", "0/3"])
    assert run_service(command.main) == 1
    assert "no letter 0/3 in transactions.dlq: in partition 0" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "1", "1/", "/1", "-1/2", "1/2/3", "٣/1", "1/" + "9" * 19])
def test_a_position_is_two_numbers(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_position(text)
