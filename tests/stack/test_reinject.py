"""A dead letter's life on real servers: shown, published again in vain, then with success, purged.

It comes after the tests that count what was played: it publishes records of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import fastavro
import pytest
import requests

from deadletters.letters import MARKER
from launcher.recount import Reader
from pipeline.names import (
    DEAD_LETTER_TOPIC,
    DETECTION,
    TRANSACTIONS_SUBJECT,
    TRANSACTIONS_TOPIC,
)
from pipeline.records import MAGIC_BYTE, SCHEMA_JSON, dead_letter_reason, is_late
from tests.stack.conftest import Played, now_ms
from tests.support.corpus import transaction
from tests.support.kafka import Record, end_offsets, publish, read_topic
from tests.support.pipeline import LocalPipeline
from tests.support.proof import prove
from tests.support.wait import wait_until

KEY = b"reinjected"


@dataclass(frozen=True)
class Story:
    """``records`` are those of the test in the topic, ``letters`` theirs, both in their order."""

    pipeline: LocalPipeline
    transaction_id: str
    value: bytes
    before: Mapping[str, str]
    shown_unknown: str
    shown_known: str
    records: list[Record]
    letters: list[Record]


def deadletters(pipeline: LocalPipeline, *options: str, status: int = 0) -> str:
    """Run the command as ``make dlq`` does; returns what it printed."""
    done = pipeline.run("-m", "deadletters", *options)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def mine(pipeline: LocalPipeline, topic: str) -> list[Record]:
    found = [record for record in read_topic(pipeline.servers, topic) if record.key == KEY]
    return sorted(found, key=lambda record: record.offset)


def published(pipeline: LocalPipeline) -> int:
    return sum(end_offsets(pipeline.servers, TRANSACTIONS_TOPIC).values())


@pytest.fixture(scope="module")
def story(played: Played) -> Story:
    pipeline = played.pipeline
    registry = pipeline.settings.registry.url
    before = pipeline.details(DETECTION)
    ends = end_offsets(pipeline.servers, DEAD_LETTER_TOPIC)[0]

    schema = json.loads(SCHEMA_JSON)
    schema["fields"].append({"name": "device", "type": ["null", "string"], "default": None})
    schema_id = max(played.schemas) + 1  # the registry counts
    now = now_ms()
    record = transaction("reinjected", now) | {"device": "phone"}
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), record)
    value = struct.pack(">bI", MAGIC_BYTE, schema_id) + body.getvalue()

    publish(pipeline.servers, TRANSACTIONS_TOPIC, [(KEY, value, now)])
    pipeline.wait_drained(published(pipeline), timeout_s=60)
    shown_unknown = deadletters(pipeline, "--show", f"0/{ends}")
    deadletters(pipeline, "--reinject", f"0/{ends}")
    pipeline.wait_drained(published(pipeline), timeout_s=60)

    url = f"{registry}/subjects/{TRANSACTIONS_SUBJECT}/versions"
    answer = requests.post(url, json={"schema": json.dumps(schema)}, timeout=10)
    answer.raise_for_status()
    assert answer.json()["id"] == schema_id
    shown_known = deadletters(pipeline, "--show", f"0/{ends + 1}")
    deadletters(pipeline, "--reinject", f"0/{ends + 1}")
    pipeline.wait_drained(published(pipeline), timeout_s=120)
    return Story(
        pipeline,
        record["transaction_id"],
        value,
        before,
        shown_unknown,
        shown_known,
        mine(pipeline, TRANSACTIONS_TOPIC),
        mine(pipeline, DEAD_LETTER_TOPIC),
    )


def test_a_letter_is_listed_and_shown_with_the_place_where_it_cannot_be_read(story: Story) -> None:
    listed = deadletters(story.pipeline).splitlines()
    newest = story.letters[-1].offset
    assert listed[0] == f"transactions.dlq holds {newest + 1:,} letters"
    assert any(line.split()[-2:] == [f"0/{newest}", "undecodable"] for line in listed)
    for line in ("reason       undecodable", "key          'reinjected'", "^^ byte 1"):
        assert line in story.shown_unknown
    assert "the registry has no schema with the id" in story.shown_unknown
    assert story.shown_unknown.splitlines()[-1] == "if re-injected now: undecodable again"


def test_a_letter_is_shown_field_by_field_once_its_schema_is_registered(story: Story) -> None:
    assert f"transaction_id        = '{story.transaction_id}'" in story.shown_known
    assert "device                = 'phone'" in story.shown_known
    last = story.shown_known.splitlines()[-1].removeprefix("if re-injected now: ")
    assert last.startswith(("stored and scored", "late"))


def test_it_is_published_again_as_it_was(story: Story) -> None:
    first, *again = story.records
    letters = [f"transactions.dlq/0/{letter.offset}".encode() for letter in story.letters]
    assert [record.headers for record in again] == [{MARKER: letter} for letter in letters]
    assert {record.value for record in story.records} == {story.value}
    assert {record.partition for record in story.records} == {first.partition}


def test_what_fails_again_is_another_letter_that_tells_where_it_stems_from(story: Story) -> None:
    first, second = story.letters
    assert dead_letter_reason(second.headers) == "undecodable"
    assert second.headers[MARKER] == f"transactions.dlq/0/{first.offset}".encode()
    assert int(second.headers["__connect.errors.offset"]) == story.records[1].offset


def test_after_the_fix_it_is_processed_once(story: Story) -> None:
    rows = [
        row
        for row in story.pipeline.rows("SELECT transaction_id, kafka_offset FROM transactions")
        if row.transaction_id == story.transaction_id
    ]
    *_, last = story.records
    assert [row.kafka_offset for row in rows] == [last.offset]
    sent_ms = story.records[0].timestamp_ms
    lateness = story.pipeline.settings.scoring.allowed_lateness_s
    verdict = "late" if is_late(sent_ms, last.timestamp_ms, lateness) else "scored"
    after = story.pipeline.details(DETECTION)
    counted = ("scored", "late", "duplicates", "rejected.undecodable")
    grown = {key: int(after[key]) - int(story.before[key]) for key in counted}
    assert grown == dict.fromkeys(counted, 0) | {verdict: 1, "rejected.undecodable": 2}


def test_it_is_not_published_twice(story: Story) -> None:
    last = story.letters[-1].offset
    said = deadletters(story.pipeline, "--reinject", f"0/{last}")
    assert "re-injected 0 letters" in said
    assert f"0/{last}: re-injected before" in said
    assert len(mine(story.pipeline, TRANSACTIONS_TOPIC)) == len(story.records)


def test_the_proof_judges_each_record_by_the_schemas_of_its_time(
    story: Story, tmp_path: Path
) -> None:
    status, result = prove(story.pipeline, tmp_path)
    assert result["differences"] == []
    assert (status, result["ok"]) == (0, True)


def test_a_purge_deletes_what_was_meant_and_the_accounting_stays(story: Story) -> None:
    """The corpus was rejected for many reasons, the first letters are not of the last's."""
    total = story.letters[-1].offset + 1
    refused = deadletters(story.pipeline, "--purge", "undecodable", status=1)
    assert refused.startswith("error: nothing was purged: up to the last letter of undecodable lie")
    assert deadletters(story.pipeline).startswith(f"transactions.dlq holds {total:,} letters")

    purged = deadletters(story.pipeline, "--purge", "all")
    assert purged.startswith(f"purged all: {total:,} letters (")
    assert "; 0 remain" in purged
    assert deadletters(story.pipeline) == "transactions.dlq holds no letter\n"
    assert end_offsets(story.pipeline.servers, DEAD_LETTER_TOPIC)[0] == total

    def accounting() -> dict[str, object]:
        answer: dict[str, object] = story.pipeline.api("/api/system")["accounting"]
        return answer

    details = story.pipeline.details
    wait_until(
        lambda: details("kafka").get(f"start_offset.{DEAD_LETTER_TOPIC}") == str(total),
        30,
        "the watcher has seen the purge",
    )
    wait_until(lambda: accounting()["status"] == "reconciled", 30, "the accounting adds up")
    assert accounting()["dead_letters"] == total
    with contextlib.closing(Reader(story.pipeline.settings)) as reader:
        assert reader.recount().differences == []
