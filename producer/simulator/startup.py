"""What must be there before publishing: start order does not matter, so wait for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition

from pipeline.errors import PipelineError
from pipeline.names import GROUND_TRUTH_TOPIC, TRANSACTIONS_TOPIC
from simulator.registry import RegistryUnavailableError, register_schema

START_TIMEOUT_S: Final = 600.0
"""A machine that builds and starts everything at once may take minutes; then a person must look."""
RETRY_S: Final = 1.0
REQUEST_TIMEOUT_S: Final = 5.0

T = TypeVar("T")

logger = logging.getLogger(__name__)


class StoppedError(Exception):
    """The process was told to stop while it waited."""


class _NotReadyError(Exception):
    """Not there yet; worth another try."""


def schema_id(registry_url: str, stop: threading.Event) -> int:
    """Return the registry's id of ``schema.avsc``, registered if it was not.

    Raises ``PipelineError`` when refused or after ``START_TIMEOUT_S``, ``StoppedError`` on stop.
    """
    return _retry("the schema registry", lambda: register_schema(registry_url), stop)


def is_first_start(bootstrap_servers: str, stop: threading.Event) -> bool:
    """Wait for both topics and tell whether `transactions` never held a record.

    Raises ``PipelineError`` after ``START_TIMEOUT_S``, ``StoppedError`` on stop.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "simulator",  # required by the client; nothing is consumed or committed
            "log_level": 2,  # what fails is reported by the caller
        }
    )
    try:
        return _retry("Kafka", lambda: _never_written(consumer), stop)
    finally:
        consumer.close()


def _never_written(consumer: Consumer) -> bool:
    topics = consumer.list_topics(timeout=REQUEST_TIMEOUT_S).topics
    for name in (TRANSACTIONS_TOPIC, GROUND_TRUTH_TOPIC):
        if name not in topics or topics[name].error is not None:
            raise _NotReadyError(f"topic {name} does not exist yet")
    return all(
        _next_offset(consumer, partition) == 0
        for partition in topics[TRANSACTIONS_TOPIC].partitions
    )


def _next_offset(consumer: Consumer, partition: int) -> int:
    offsets = consumer.get_watermark_offsets(
        TopicPartition(TRANSACTIONS_TOPIC, partition), timeout=REQUEST_TIMEOUT_S
    )
    if offsets is None:
        raise _NotReadyError(f"no offsets of {TRANSACTIONS_TOPIC} {partition} yet")
    return offsets[1]


def _retry(what: str, attempt: Callable[[], T], stop: threading.Event) -> T:
    give_up_at = time.monotonic() + START_TIMEOUT_S
    reported = None
    while True:
        try:
            return attempt()
        except (RegistryUnavailableError, KafkaException, _NotReadyError) as error:
            problem = str(error)
        if problem != reported:
            logger.info("waiting for %s: %s", what, problem)
            reported = problem
        if time.monotonic() > give_up_at:
            raise PipelineError(f"{what} is not ready after {START_TIMEOUT_S:.0f} s: {problem}")
        if stop.wait(RETRY_S):
            raise StoppedError
