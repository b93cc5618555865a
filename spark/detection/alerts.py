"""Evaluations at or above the review threshold → alert rows, with their reason in words."""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from detection.counterfactual import Counterfactuals, explain
from detection.decode import unpack_position
from detection.model import Model
from detection.views import MINUTE_MS
from pipeline.records import Transaction

ALERT_COLUMNS = (
    "hour",
    "window_start",
    "sender_account",
    "alert_id",
    "window_end",
    "score",
    "threshold",
    "severity",
    "reason",
    "features",
    "usual",
    "contributions",
    "actual",
    "counterfactuals",
    "limits",
    "no_alert_if",
    "transaction_id",
    "transaction_amount",
    "receiver_account",
    "transaction_type",
    "transaction_status",
    "transaction_count",
    "total_amount",
    "failed_count",
    "max_amount",
    "distinct_receivers",
    "model_version",
    "run_id",
    "batch_id",
    "event_time",
    "kafka_partition",
    "kafka_offset",
    "kafka_timestamp",
    "scored_at",
)
"""The columns of ``fraud_alerts`` and ``fraud_alerts_by_account``."""

HIGH_FACTOR = 1.5
"""An alert is high from this multiple of the alert threshold on."""
NAMED_SHARE = 0.1
"""A feature with a smaller share of the distance is left out of the reason."""

AlertRow = dict[str, Any]


def build_alerts(
    evaluations: pd.DataFrame,
    transactions: Mapping[int, Transaction],
    model: Model,
    run_id: str,
    batch_id: int,
    scored_at: dt.datetime,
) -> list[AlertRow]:
    """Return a row of ``ALERT_COLUMNS`` for each evaluation; all must reach the review threshold.

    ``transactions`` holds, by packed position, the last transaction of each evaluated minute:
    the one that triggered the evaluation.
    """
    explanations = explain(evaluations, model.scorer, model.review_threshold)
    return [
        _alert(evaluation, transactions[evaluation["last_position"]], model)
        | _counterfactual_columns(explanation)
        | {"run_id": run_id, "batch_id": batch_id, "scored_at": scored_at}
        for evaluation, explanation in zip(
            evaluations.to_dict("records"), explanations, strict=True
        )
    ]


def alert_id(window_start_ms: int, sender_account: str) -> str:
    """Return ``<window_start ms>-<base64url of the sender>``, the alert's public name."""
    encoded = base64.urlsafe_b64encode(sender_account.encode("utf-8", "surrogateescape"))
    return f"{window_start_ms}-{encoded.decode().rstrip('=')}"


def severity(score: float, alert_threshold: float) -> str:
    """Return low (review only), medium or high."""
    if score < alert_threshold:
        return "low"
    return "medium" if score < HIGH_FACTOR * alert_threshold else "high"


def _alert(evaluation: Mapping[Any, Any], transaction: Transaction, model: Model) -> AlertRow:
    window_start = _time(evaluation["window_start"])
    partition, offset = unpack_position(evaluation["last_position"])
    constants, names = model.scorer.constants, model.scorer.features
    usual = {
        "receiver_spread": evaluation["usual_receivers"],
        "receiver_spread_recent": evaluation["usual_recent_receivers"],
        "amount_surprise": evaluation["usual_amount"],
        "failed_count": 0.0,
        "amount_surprise_recent": evaluation["usual_amount"],
        "receiver_inflow": 1 + constants.inflow_mean,
        "max_amount": math.exp(constants.mu0),
        "large_amounts": 0.0,
    }
    return {
        "hour": window_start.replace(minute=0),
        "window_start": window_start,
        "sender_account": transaction["sender_account"],
        "alert_id": alert_id(evaluation["window_start"], transaction["sender_account"]),
        "window_end": _time(evaluation["window_start"] + MINUTE_MS),
        "score": evaluation["score"],
        "threshold": model.alert_threshold,
        "severity": severity(evaluation["score"], model.alert_threshold),
        "reason": reason(evaluation, names),
        "features": {name: float(evaluation[f"feature_{name}"]) for name in names},
        "usual": {name: usual[name] for name in names},
        "contributions": {name: evaluation[f"share_{name}"] for name in names},
        "transaction_id": transaction["transaction_id"],
        "transaction_amount": transaction["transaction_amount"],
        "receiver_account": transaction["receiver_account"],
        "transaction_type": transaction["transaction_type"],
        "transaction_status": transaction["transaction_status"],
        "transaction_count": evaluation["transaction_count"],
        "total_amount": evaluation["total_amount"],
        "failed_count": evaluation["failed_count"],
        "max_amount": evaluation["max_amount"],
        "distinct_receivers": evaluation["distinct_receivers"],
        "model_version": model.version,
        "event_time": _time(transaction["transaction_timestamp"]),
        "kafka_partition": partition,
        "kafka_offset": offset,
        "kafka_timestamp": _time(evaluation["last_arrival"]),
    }


def _counterfactual_columns(explanation: Counterfactuals) -> AlertRow:
    return {
        "actual": explanation.actual,
        "counterfactuals": explanation.values,
        "limits": explanation.limits,
        "no_alert_if": explanation.sentences,
    }


def reason(evaluation: Mapping[Any, Any], names: Sequence[str]) -> str:
    """Return one plain sentence: what was unusual, strongest first, beside what is usual.

    ``names`` are the features of the model.
    """
    recent_amount = math.exp(evaluation["recent_sum_log"] / evaluation["recent_count"])
    parts = {
        "receiver_spread_recent": (
            f"paid {evaluation['recent_receivers']:.0f} receivers in ten minutes,"
            f" usually {evaluation['usual_recent_receivers']:.0f}"
        ),
        "amount_surprise_recent": (
            f"{_payments(evaluation['recent_count'])} in ten minutes of"
            f" {_times(recent_amount / evaluation['usual_amount'])} the usual amount"
        ),
        "receiver_inflow": (
            f"paid a receiver that {evaluation['receiver_senders']:.0f} accounts paid"
            " in ten minutes"
        ),
        "receiver_spread": (
            f"paid {evaluation['distinct_receivers']:.0f} receivers in a minute,"
            f" usually {evaluation['usual_receivers']:.0f}"
        ),
        "amount_surprise": (
            f"{_times(evaluation['max_amount'] / evaluation['usual_amount'])} the usual amount"
        ),
        "failed_count": f"{_payments(evaluation['failed_count'])} failed in a minute",
        "max_amount": f"an amount of {evaluation['max_amount']:,.2f}",
        "large_amounts": f"{_payments(evaluation['large_amounts'])} of a large amount within a day",
    }
    by_share = sorted(names, key=lambda name: -evaluation[f"share_{name}"])
    named = [
        parts[name]
        for name in by_share
        if evaluation[f"share_{name}"] >= NAMED_SHARE and evaluation[f"feature_{name}"] > 0
    ]
    sentence = "; ".join(named) or parts[by_share[0]]
    return f"{sentence[0].upper()}{sentence[1:]}."


def _payments(count: int) -> str:
    return "1 payment" if count == 1 else f"{count} payments"


def _times(ratio: float) -> str:
    return f"{ratio:.0f} x" if ratio >= 10 else f"{ratio:.1f} x"


def _time(milliseconds: int) -> dt.datetime:
    seconds, rest = divmod(milliseconds, 1000)
    return dt.datetime.fromtimestamp(seconds, dt.UTC).replace(microsecond=rest * 1000)
