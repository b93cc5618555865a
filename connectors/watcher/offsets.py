"""What Kafka knows of its topics and of the sink's progress."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline import names

OTHER_TOPICS = (
    names.GROUND_TRUTH_TOPIC,
    names.DEAD_LETTER_TOPIC,
    names.REINJECTED_TOPIC,
    names.ALERTS_TOPIC,
)
"""Every topic of the pipeline but its source."""
REQUEST_TIMEOUT_S = 2.0
"""Of each request: a poll must end soon enough for its statuses to be true."""
RATE_WINDOW_S = 10.0
"""Rates over less jump with the batches of Connect; over more they lag behind what one sees."""
HISTORY_S = 600.0
"""How far back a lag can be told in seconds; 300 points of 2 s."""


@dataclass(frozen=True)
class Offsets:
    """Sums over the partitions of each topic; ``stored`` is what the sink has committed.

    A missing topic has no entry. A partition without a commit counts from its start offset.
    """

    start: Mapping[str, int]
    end: Mapping[str, int]
    stored: int


def read_offsets(admin: AdminClient, source: str) -> Offsets:
    """Ask the broker; ``source`` is the topic of the transactions.

    Raises ``KafkaException`` or ``TimeoutError`` if the broker does not answer.
    """
    topics = admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
    partitions = [
        TopicPartition(name, partition)
        for name in (source, *OTHER_TOPICS)
        if name in topics
        for partition in topics[name].partitions
    ]
    start = _list_offsets(admin, partitions, OffsetSpec.earliest())
    end = _list_offsets(admin, partitions, OffsetSpec.latest())
    committed = _committed(admin, source)
    stored = sum(
        committed.get(partition, offset)
        for (name, partition), offset in start.items()
        if name == source
    )
    return Offsets(_sums(start), _sums(end), stored)


def _list_offsets(
    admin: AdminClient, partitions: list[TopicPartition], spec: OffsetSpec
) -> dict[tuple[str, int], int]:
    if not partitions:
        return {}
    futures = admin.list_offsets(dict.fromkeys(partitions, spec), request_timeout=REQUEST_TIMEOUT_S)
    return {
        (at.topic, at.partition): future.result(timeout=REQUEST_TIMEOUT_S).offset
        for at, future in futures.items()
    }


def _committed(admin: AdminClient, source: str) -> dict[int, int]:
    """Return {partition of the source: next offset}; none before the first commit."""
    group = ConsumerGroupTopicPartitions(names.SINK_CONSUMER_GROUP)
    futures = admin.list_consumer_group_offsets([group], request_timeout=REQUEST_TIMEOUT_S)
    offsets = next(iter(futures.values())).result(timeout=REQUEST_TIMEOUT_S)
    return {
        at.partition: at.offset
        for at in offsets.topic_partitions or []
        if at.topic == source and at.offset >= 0
    }


def _sums(offsets: Mapping[tuple[str, int], int]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for (name, _), offset in offsets.items():
        sums[name] = sums.get(name, 0) + offset
    return sums


class History:
    """The recent past of a growing count: its rate, and how long ago it was at some value."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def add(self, now_s: float, count: int) -> None:
        """Add a reading; a count that fell (a topic made anew) starts a new history."""
        if self._points and count < self._points[-1][1]:
            self._points.clear()
        self._points.append((now_s, count))
        while self._points[0][0] < now_s - HISTORY_S:
            self._points.popleft()

    def rate(self) -> float | None:
        """Return the growth per second over ``RATE_WINDOW_S``, or None before a second reading."""
        if len(self._points) < 2:
            return None
        now_s, count = self._points[-1]
        then_s, before = next(
            point
            for point in self._points
            if point[0] >= now_s - RATE_WINDOW_S or point[0] == now_s
        )
        if then_s == now_s:  # readings further apart than the window: an outage lay between
            then_s, before = self._points[-2]
        return (count - before) / (now_s - then_s)

    def seconds_behind(self, count: int) -> float | None:
        """Return how long ago the count was last at most ``count``; None if before the history."""
        now_s = self._points[-1][0]
        return next(
            (now_s - then_s for then_s, before in reversed(self._points) if before <= count), None
        )
