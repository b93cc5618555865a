"""Publishes labelled transactions to Kafka; every record ends up acknowledged or reported."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from pipeline.names import GROUND_TRUTH_TOPIC, TRANSACTIONS_TOPIC
from pipeline.records import encode
from simulator.stream import LabelledTransaction

DELIVERY_TIMEOUT_S: Final = 300
"""A record not acknowledged for this long has failed, and is counted so. Lower: a broker restart
loses records. Higher: the end of a run waits as long for a broker that does not come back."""
QUEUE_MESSAGES: Final = 200_000
"""Records that wait for the broker, at most: about 100 MB. When the queue is full, publishing
blocks until there is room: an outage delays, it does not grow memory."""
POLL_EVERY: Final = 512
"""Records between two looks at the acknowledgements."""
FULL_QUEUE_POLL_S: Final = 0.1
ERROR_LOG_S: Final = 30.0
"""During an outage the client reports several errors a second; one line in this time is enough."""

NOW: Final = 0
"""In place of a Kafka timestamp: the client sets that of the moment."""

logger = logging.getLogger(__name__)


@dataclass
class Counts:
    """Records of one topic: published = acked + failed + under way."""

    published: int = 0
    acked: int = 0
    failed: int = 0

    @property
    def under_way(self) -> int:
        return self.published - self.acked - self.failed


class Publisher:
    """Sends transactions to `transactions` and their labels to `ground_truth`.

    ``is_stopped`` ends the wait for room in a full queue; a record given up then counts as
    failed. Not safe for several threads, but the counts may be read by any.
    """

    def __init__(
        self, bootstrap_servers: str, schema_id: int, is_stopped: Callable[[], bool]
    ) -> None:
        self.transactions = Counts()
        self.labels = Counts()
        self.last_error: str | None = None
        self._schema_id = schema_id
        self._is_stopped = is_stopped
        self._until_poll = POLL_EVERY
        self._quiet_until = 0.0
        self._on_transaction = self._delivery_callback(self.transactions)
        self._on_label = self._delivery_callback(self.labels)
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "client.id": "simulator",
                "acks": "all",
                "enable.idempotence": True,  # off by default in librdkafka
                "partitioner": "murmur2_random",  # Java's default: all clients agree
                "compression.type": "lz4",
                # At full rate batches fill before; at a low rate this adds to the latency.
                "linger.ms": 5,
                "delivery.timeout.ms": DELIVERY_TIMEOUT_S * 1000,
                "queue.buffering.max.messages": QUEUE_MESSAGES,
                "error_cb": self._on_client_error,
                "log_level": 2,  # its errors come to error_cb; as log lines they are 4 a second
            }
        )

    def publish(self, row: LabelledTransaction, kafka_time_ms: int = NOW) -> None:
        """Queue the transaction and, unless it is history, its label; blocks while the queue is
        full. Raises ``ValueError`` or ``TypeError`` when a value does not fit ``schema.avsc``.

        ``kafka_time_ms`` becomes the transaction's Kafka timestamp. A label has that of its
        sending: it plays no part in scoring, and its topic keeps records by their age.
        """
        transaction = row.transaction
        is_queued = self._produce(
            TRANSACTIONS_TOPIC,
            transaction["sender_account"],
            encode(transaction, self._schema_id),
            self.transactions,
            self._on_transaction,
            kafka_time_ms,
        )
        if is_queued and not row.is_history:
            transaction_id = transaction["transaction_id"]
            self._produce(
                GROUND_TRUTH_TOPIC, transaction_id, _label(row), self.labels, self._on_label
            )

    def poll(self, timeout_s: float) -> None:
        """Take in acknowledgements for up to ``timeout_s``; may return earlier."""
        self._producer.poll(timeout_s)

    def flush(self, timeout_s: float) -> bool:
        """Wait for the records under way; tell whether every record so far is acknowledged."""
        self._producer.flush(timeout_s)  # its result does not tell: failed records count as done
        return all(counts.acked == counts.published for counts in self.counts.values())

    @property
    def counts(self) -> dict[str, Counts]:
        """The counts by topic."""
        return {TRANSACTIONS_TOPIC: self.transactions, GROUND_TRUTH_TOPIC: self.labels}

    def _produce(
        self,
        topic: str,
        key: str,
        value: bytes,
        counts: Counts,
        on_delivery: Callable[[KafkaError | None, Message], None],
        kafka_time_ms: int = NOW,
    ) -> bool:
        counts.published += 1
        self._until_poll -= 1
        if not self._until_poll:
            self._until_poll = POLL_EVERY
            self._producer.poll(0)
        while True:
            try:
                self._producer.produce(
                    topic, value, key, on_delivery=on_delivery, timestamp=kafka_time_ms
                )
                return True
            except BufferError:
                if self._is_stopped():
                    counts.failed += 1
                    self.last_error = f"stopped while the queue was full: a record of {topic}"
                    logger.error(self.last_error)
                    return False
                self._producer.poll(FULL_QUEUE_POLL_S)

    def _delivery_callback(self, counts: Counts) -> Callable[[KafkaError | None, Message], None]:
        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is None:
                counts.acked += 1
                return
            counts.failed += 1
            self.last_error = f"{message.topic()}: {error.str()}"
            if counts.failed.bit_count() == 1:  # 1st, 2nd, 4th, 8th ...: an outage fails many
                logger.error("not acknowledged: %s; %d so far", self.last_error, counts.failed)

        return on_delivery

    def _on_client_error(self, error: KafkaError) -> None:
        self.last_error = error.str()
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + ERROR_LOG_S
            logger.warning("Kafka: %s", self.last_error)


def _label(row: LabelledTransaction) -> bytes:
    transaction_id = row.transaction["transaction_id"]
    if not row.is_fraud:  # nearly all: as below, in a fraction of the time
        return f'{{"transaction_id": {json.dumps(transaction_id)}{_NO_FRAUD}'.encode()
    return json.dumps(
        {
            "transaction_id": transaction_id,
            "is_fraud": True,
            "pattern": row.pattern,
            "incident_id": row.incident_id,
        }
    ).encode()


_NO_FRAUD: Final = ', "is_fraud": false, "pattern": null, "incident_id": null}'
