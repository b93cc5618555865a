"""The labels of `ground_truth`: their format, and the consumer that reads them."""

from __future__ import annotations

import datetime as dt
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from pipeline.errors import PipelineError
from pipeline.names import GROUND_TRUTH_TOPIC
from pipeline.records import MAX_ID_BYTES

CONSUMER_GROUP: Final = "quality"
BATCH: Final = 5000
"""Labels taken at once: a backlog is read at 100,000 a second, and memory stays small."""
TRUE: Final = b"true"
"""JSON without this word is no label of a fraud: nearly all labels are passed over unparsed."""
ERROR_LOG_S: Final = 30.0
"""During an outage the client reports several errors a second; one line in this time is enough."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FraudLabel:
    """The label of a fraudulent transaction, and where and when it lay in its topic."""

    transaction_id: str
    pattern: str | None
    incident_id: str | None
    partition: int
    offset: int
    labelled_at: dt.datetime


def parse_fraud(value: bytes) -> tuple[str, str | None, str | None] | None:
    """Return (transaction_id, pattern, incident_id) of a label, None unless it says fraud.

    Raises ``ValueError`` for what is no label.
    """
    if TRUE not in value:
        return None
    try:
        label = json.loads(value)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(label, dict) or not isinstance(label.get("is_fraud"), bool):
        raise ValueError("a label must be an object with is_fraud true or false")
    if not label["is_fraud"]:
        return None
    transaction_id = _text(label, "transaction_id")
    if transaction_id is None:
        raise ValueError("transaction_id is missing")
    return transaction_id, _text(label, "pattern"), _text(label, "incident_id")


def _text(label: Mapping[str, Any], name: str) -> str | None:
    text = label.get(name)
    if text is None:
        return None
    if not isinstance(text, str) or not 0 < len(text.encode()) <= MAX_ID_BYTES:
        raise ValueError(f"{name} must be a text of 1 to {MAX_ID_BYTES} bytes")
    return text


class LabelReader:
    """Reads the labels in their order, each at least once over all runs of the service.

    The counts may be read by any thread. ``read_until`` is the Kafka time of the newest label
    that was read, None before the first.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self.labels = 0
        self.malformed = 0
        self.read_until: dt.datetime | None = None
        self._next_offsets: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._quiet_until = 0.0
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "client.id": "quality",
                "group.id": CONSUMER_GROUP,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                # After a kill the next run gets the labels so soon; the default is 45 s.
                "session.timeout.ms": 10_000,
                # A topic that is made after this start is found so soon; the default is 5 minutes.
                "topic.metadata.refresh.interval.ms": 10_000,
                "error_cb": self._on_error,
                "log_level": 2,  # what fails comes to error_cb
            }
        )
        self._consumer.subscribe([GROUND_TRUTH_TOPIC])

    def read(self, timeout_s: float) -> list[FraudLabel]:
        """Return the frauds among the next labels; waits for them at most ``timeout_s``.

        Raises ``PipelineError`` when the client cannot go on.
        """
        frauds = []
        for message in self._consumer.consume(BATCH, timeout_s):
            error = message.error()
            if error is not None:
                self._on_error(error)
                continue
            if (fraud := self._fraud(message)) is not None:
                frauds.append(fraud)
        return frauds

    def commit(self, unfinished: Mapping[int, int]) -> None:
        """Let the next run begin at the first of ``unfinished`` ({partition: offset}), or after
        what was read."""
        wanted = {
            partition: unfinished.get(partition, offset)
            for partition, offset in self._next_offsets.items()
        }
        if wanted != self._committed:
            self._consumer.commit(
                offsets=[TopicPartition(GROUND_TRUTH_TOPIC, *item) for item in wanted.items()],
                asynchronous=True,
            )
            self._committed = wanted

    def lag_messages(self) -> int | None:
        """Return how many labels are not read yet, as far as the last answer of the broker tells;
        None before it."""
        lag = 0
        for partition, offset in list(self._next_offsets.items()):
            at = TopicPartition(GROUND_TRUTH_TOPIC, partition)
            _, end = self._consumer.get_watermark_offsets(at, cached=True)
            lag += max(0, end - offset)
        return lag if self._next_offsets else None

    def close(self) -> None:
        """Leave the group; offsets that were committed stay."""
        self._consumer.close()

    def _fraud(self, message: Message) -> FraudLabel | None:
        partition, offset = cast(int, message.partition()), cast(int, message.offset())
        labelled_at = dt.datetime.fromtimestamp(message.timestamp()[1] / 1000, dt.UTC)
        self._next_offsets[partition] = offset + 1
        self.labels += 1
        self.read_until = labelled_at
        try:
            fraud = parse_fraud(message.value() or b"")
        except ValueError as error:
            self.malformed += 1
            if self.malformed.bit_count() == 1:  # 1st, 2nd, 4th, 8th ...: a bad source sends many
                place = f"{GROUND_TRUTH_TOPIC}/{partition}/{offset}"
                logger.warning("%s: %s; %d so far", place, error, self.malformed)
            return None
        if fraud is None:
            return None
        return FraudLabel(*fraud, partition, offset, labelled_at)

    def _on_error(self, error: KafkaError) -> None:
        """Report an error of the client, which goes on trying unless the error is fatal."""
        if error.fatal():
            raise PipelineError(f"Kafka: {error.str()}")
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + ERROR_LOG_S
            logger.warning("Kafka: %s", error.str())
