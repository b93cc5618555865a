"""What the detection job does while a server does not answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cassandra import OperationTimedOut, Unavailable
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionBusy, ConnectionShutdown
from confluent_kafka import KafkaError, KafkaException

from detection import sinks


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "FIRST_PAUSE_S", 0.001)


def failing(*errors: Exception) -> tuple[list[Exception], Callable[[], str]]:
    left = list(errors)

    def call() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return left, call


@pytest.mark.parametrize(
    "error",
    [
        ConnectionShutdown("a request was under way when the server was killed"),
        ConnectionBusy("every stream is taken"),
        NoHostAvailable("nobody answers", {}),
        OperationTimedOut(),
        Unavailable("too few replicas"),
        KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_outage_is_tried_again(error: Exception) -> None:
    left, call = failing(error, error)
    assert sinks._retried(call, "write") == "done"
    assert left == []


def test_patience_ends() -> None:
    _, call = failing(*[OperationTimedOut()] * 3)
    with pytest.raises(sinks.SinkError, match="write: failed for 0 s"):
        sinks._retried(call, "write", patience_s=0)


def test_a_mistake_is_not_tried_again() -> None:
    left, call = failing(ValueError("ours"), ValueError("again"))
    with pytest.raises(ValueError, match="ours"):
        sinks._retried(call, "write")
    assert len(left) == 1
