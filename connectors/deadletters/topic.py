"""Reading a topic from one offset to another, and writing records that are each accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from pipeline.errors import PipelineError

REQUEST_TIMEOUT_S: Final = 10.0
"""Somebody waits for the answer: long enough for a busy broker, short enough to say it is away."""
DELIVERY_TIMEOUT_S: Final = 60.0
"""What is not acknowledged by then counts as failed; less would give up during a broker restart."""
PREFETCH_KIB: Final = 4096
"""Bounds memory: in a container this runs beside a service."""
MAX_RECORD_BYTES: Final = 2**21
"""The broker decides what is too large, by default a little more than the client's own limit."""

Headers = Sequence[tuple[str, bytes | None]]


class TopicReader:
    """Reads without leaving a trace: nothing is committed. Call ``close`` at the end.

    Each method raises ``PipelineError`` when Kafka does not answer or refuses.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self._servers = bootstrap_servers
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "deadletters",  # required by the client
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "queued.max.messages.kbytes": PREFETCH_KIB,
                "fetch.queue.backoff.ms": 5,  # by default it rests a second when it has as many
                "fetch.wait.max.ms": 50,  # a new read waits for the end of the one under way
                "log_level": 0,  # its errors end in one line of ours
            }
        )

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """Return {partition: (first offset, the offset after the last)}."""
        try:
            known = self._consumer.list_topics(timeout=REQUEST_TIMEOUT_S).topics
            if topic not in known:
                raise PipelineError(f"topic {topic} does not exist: the step `topics` creates it")
            return {
                partition: self._consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), REQUEST_TIMEOUT_S
                )
                for partition in sorted(known[topic].partitions)
            }
        except KafkaException as error:
            raise self._away(error.args[0]) from error

    def read(self, topic: str, partition: int, first: int, end: int) -> Iterator[Message]:
        """Yield the records from ``first`` to before ``end``; offsets without one are left out."""
        if first >= end:
            return
        self._consumer.assign([TopicPartition(topic, partition, first)])
        while True:
            message = self._consumer.poll(REQUEST_TIMEOUT_S)
            if message is None:
                raise self._away(None)
            if (error := message.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    return
                raise self._away(error)
            offset = message.offset()
            if offset is None or offset >= end:
                return
            yield message
            if offset == end - 1:
                return

    def _away(self, error: KafkaError | None) -> PipelineError:
        cause = error.str() if error else f"no answer within {REQUEST_TIMEOUT_S:.0f} s"
        return PipelineError(f"Kafka does not answer at {self._servers} ({cause})")


class Sender:
    """Publishes records that the broker takes once, whatever is repeated on the way."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._failures: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "client.id": "deadletters",
                "acks": "all",
                "enable.idempotence": True,  # off by default in librdkafka
                "delivery.timeout.ms": int(DELIVERY_TIMEOUT_S * 1000),
                "message.max.bytes": MAX_RECORD_BYTES,
                "log_level": 0,
            }
        )

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        on_acknowledged: Callable[[Message], None] = lambda message: None,
    ) -> None:
        """Queue a record; ``on_acknowledged`` is called for it by ``settle``, unless it fails."""

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is None:
                on_acknowledged(message)
            else:
                self._failures.append(f"{topic}: {error.str()}")

        try:
            self._producer.produce(
                topic,
                value,
                key,
                partition=partition,
                headers=list(headers),
                on_delivery=on_delivery,
            )
        except KafkaException as error:
            self._failures.append(f"{topic}: {error.args[0].str()}")

    def settle(self) -> list[str]:
        """Wait until the fate of everything sent is known; return why each failure failed."""
        self._producer.flush(DELIVERY_TIMEOUT_S + REQUEST_TIMEOUT_S)
        failures, self._failures = self._failures, []
        return failures
