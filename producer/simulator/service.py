"""The commands that publish: the simulator as a service, and the playing of a labelled file."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from pipeline.errors import PipelineError
from pipeline.heartbeat import Heartbeat
from pipeline.settings import Settings
from simulator.labelled_file import read_labelled_file
from simulator.pacer import Pacer
from simulator.progress import Progress
from simulator.publisher import DELIVERY_TIMEOUT_S, NOW, Publisher
from simulator.startup import StoppedError, is_first_start, schema_id
from simulator.stream import LabelledTransaction, history, live
from simulator.world import make_world

STOP_FLUSH_S: Final = 30.0
"""Told to stop, wait this long for the records under way; a container's grace must be longer."""
DONE_FLUSH_S: Final = DELIVERY_TIMEOUT_S + 10.0
"""At the end of a file: by then every record is acknowledged or has failed."""

KafkaTime = Literal["now", "event"]

logger = logging.getLogger(__name__)


def run(settings: Settings, stop: threading.Event) -> int:
    """Publish the history on the first start ever, then live transactions until ``stop``.

    Returns the exit status: 1 if a record was not acknowledged.
    """
    if not settings.simulator.enabled:
        logger.info("simulator.enabled is false: nothing to publish")
        return 0
    progress = Progress()
    heartbeat = Heartbeat(settings.cassandra, progress.snapshot)
    heartbeat.start()
    exit_status = 1
    try:
        exit_status = _simulate(settings, stop, progress)
    except StoppedError:
        exit_status = 0
    finally:
        progress.phase = "failed" if exit_status else "stopped"
        heartbeat.stop()
    return exit_status


def play(
    settings: Settings, stop: threading.Event, path: Path, speed: float, kafka_time: KafkaTime
) -> int:
    """Publish a labelled file: its history at once, then the rest at ``speed`` x its own pace.

    With ``kafka_time`` "now" the first row that is not history happens now, each later one at
    its own moment of sending, and the history is shifted by as much as the first. With "event"
    transaction timestamps stay as in the file and are the Kafka timestamps too (of the history:
    that of the first row that is none), as if the file were published while it happened.
    An infinite ``speed`` waits for nothing.

    Returns when every record is acknowledged or has failed, with the exit status: 1 if a record
    was not acknowledged. Raises ``PipelineError`` for a file that cannot be played.
    """
    first_ms = _first_live_ms(path)
    try:
        publisher = _connect(settings, stop)
    except StoppedError:
        return 0
    is_now = kafka_time == "now"
    shift_ms = _now_ms() - first_ms if is_now else 0
    for row in read_labelled_file(path):
        if stop.is_set():
            break
        if row.is_history:
            row.transaction["transaction_timestamp"] += shift_ms
            publisher.publish(row, NOW if is_now else first_ms)
    rows = (row for row in read_labelled_file(path) if not row.is_history)
    if is_now:
        _publish_paced(publisher, rows, first_ms, stop, speed=speed)
    else:
        _publish_as_timed(publisher, rows, first_ms, stop, speed)
    return _finish(publisher, STOP_FLUSH_S if stop.is_set() else DONE_FLUSH_S)


def _simulate(settings: Settings, stop: threading.Event, progress: Progress) -> int:
    config = settings.simulator
    world = make_world(config.seed, config.accounts, config.history_per_account)
    is_first = is_first_start(settings.kafka.bootstrap_servers, stop)
    publisher = _connect(settings, stop)
    progress.publisher = publisher
    if is_first:
        logger.info("first start: publishing the history of %d accounts", config.accounts)
        progress.phase = "history"
        for row in history(world, _now_ms()):
            if stop.is_set():
                break
            publisher.publish(row)
    logger.info("live: %g transactions per second", config.rate_per_s)
    progress.phase = "live"
    start_ms = _now_ms()
    rows = live(world, start_ms, config.rate_per_s, config.fraud_rate, is_planted=True)
    _publish_paced(publisher, rows, start_ms, stop)
    return _finish(publisher, STOP_FLUSH_S)


def _connect(settings: Settings, stop: threading.Event) -> Publisher:
    schema = schema_id(settings.registry.url, stop)
    return Publisher(settings.kafka.bootstrap_servers, schema, stop.is_set)


def _publish_paced(
    publisher: Publisher,
    rows: Iterable[LabelledTransaction],
    first_ms: int,
    stop: threading.Event,
    *,
    speed: float = 1.0,
) -> None:
    """Publish the rows in real time until they end or ``stop``; ``first_ms`` happens now."""
    pacer = Pacer(first_ms, _now_ms, publisher.poll, stop.is_set, speed)
    for row in rows:
        moment_ms = pacer.happen(row.transaction["transaction_timestamp"])
        if stop.is_set():
            return
        row.transaction["transaction_timestamp"] = moment_ms
        publisher.publish(row)


def _publish_as_timed(
    publisher: Publisher,
    rows: Iterable[LabelledTransaction],
    first_ms: int,
    stop: threading.Event,
    speed: float,
) -> None:
    """Publish the rows with their own timestamps until they end or ``stop``.

    Raises ``PipelineError`` for a row out of time order: Kafka timestamps would go back, and
    the scoring would find such a row closed or not, depending on its batches.
    """
    pacer = Pacer(first_ms, _now_ms, publisher.poll, stop.is_set, speed)
    latest_ms = first_ms
    for row in rows:
        time_ms = row.transaction["transaction_timestamp"]
        if time_ms < latest_ms:
            transaction_id = row.transaction["transaction_id"]
            raise PipelineError(
                f"transaction {transaction_id} is older than one before it: sort the file by"
                " transaction_timestamp"
            )
        latest_ms = time_ms
        if not math.isinf(speed):
            pacer.happen(time_ms)
        if stop.is_set():
            return
        publisher.publish(row, time_ms)


def _finish(publisher: Publisher, timeout_s: float) -> int:
    """Wait for the records under way, log the summary and return the exit status."""
    is_complete = publisher.flush(timeout_s)
    for topic, counts in publisher.counts.items():
        logger.info(
            "%s: %d published, %d acknowledged, %d failed, %d unknown",
            topic,
            counts.published,
            counts.acked,
            counts.failed,
            counts.under_way,
        )
    if not is_complete:
        logger.error("not every record was acknowledged: %s", publisher.last_error)
    return 0 if is_complete else 1


def _first_live_ms(path: Path) -> int:
    for row in read_labelled_file(path):
        if not row.is_history:
            return row.transaction["transaction_timestamp"]
    raise PipelineError(f"{path}: holds no row to play; at least one must not be history")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
