"""Deleting letters. Kafka deletes from the first record on up to an offset, and nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from deadletters.letters import Letter, Position
from deadletters.reinjection import counted
from deadletters.selection import Selection
from deadletters.topic import REQUEST_TIMEOUT_S
from pipeline.errors import PipelineError
from pipeline.names import DEAD_LETTER_TOPIC


class PurgePlan:
    """Which letters a purge would delete; ``ends`` are {partition: the offset after the last}.

    ``before_ms`` ends the selection of a partition at its first letter that is not older.
    ``others`` are letters that were not selected but lie before a selected one.
    """

    def __init__(
        self, letters: Iterable[Letter], selection: Selection, before_ms: int | None = None
    ) -> None:
        self.selected: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self.first_other: Position | None = None
        self.remaining = 0
        self.ends: dict[int, int] = {}
        passed: defaultdict[int, Counter[str]] = defaultdict(Counter)
        first_passed: dict[int, Position] = {}
        closed: set[int] = set()
        for letter in letters:
            partition = letter.position.partition
            if before_ms is not None and letter.arrival_ms >= before_ms:
                closed.add(partition)
            if partition in closed or not selection.takes(letter):
                passed[partition][letter.reason] += 1
                first_passed.setdefault(partition, letter.position)
                continue
            self.selected[letter.reason] += 1
            self.ends[partition] = letter.position.offset + 1
            self.others += passed.pop(partition, Counter())
            self.first_other = self.first_other or first_passed.get(partition)
        self.remaining = sum(reasons.total() for reasons in passed.values())

    def check(self, selection: Selection) -> None:
        """Raise ``PipelineError`` if other letters would be deleted too."""
        if self.others:
            raise PipelineError(
                f"nothing was purged: up to the last letter of {selection} lie"
                f" {counted(self.others)} that PURGE={selection} does not mean, the first at"
                f" {self.first_other}. Kafka deletes only from the oldest letter on:"
                " PURGE=all BEFORE= deletes everything up to a time"
            )


def purge(bootstrap_servers: str, ends: Mapping[int, int]) -> None:
    """Delete the letters before each of ``ends``; raises ``PipelineError`` if Kafka refuses."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    wanted = [TopicPartition(DEAD_LETTER_TOPIC, partition, end) for partition, end in ends.items()]
    try:
        for deleted in admin.delete_records(wanted, request_timeout=REQUEST_TIMEOUT_S).values():
            deleted.result(REQUEST_TIMEOUT_S)
    except (KafkaException, TimeoutError) as error:
        raise PipelineError(f"{DEAD_LETTER_TOPIC} was not purged: {error}") from error
