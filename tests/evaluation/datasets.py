"""The two data sets as labelled files: columns of ``simulator.labelled_file``, in time order.

Neither has a status, a type or incidents: every row is a completed payment.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.errors import PipelineError
from pipeline.records import FIELDS

FILE = "transactions.parquet"
COLUMNS = [*FIELDS, "is_fraud", "pattern"]
SCENARIOS = {1: "high_amount", 2: "compromised_terminal", 3: "compromised_card"}


def read_handbook(data: Path) -> pd.DataFrame:
    """Read the Fraud Detection Handbook's simulated data; ``pattern`` is its fraud scenario.

    Sender = customer, receiver = terminal. Raises ``PipelineError`` if it is not that file.
    """
    columns = {
        "TRANSACTION_ID": "transaction_id",
        "TX_DATETIME": "transaction_timestamp",
        "TX_AMOUNT": "transaction_amount",
        "CUSTOMER_ID": "sender_account",
        "TERMINAL_ID": "receiver_account",
        "TX_FRAUD": "is_fraud",
        "TX_FRAUD_SCENARIO": "pattern",
    }
    rows = _read(data, columns)
    return _labelled(
        rows,
        sender_account="customer-" + rows["sender_account"].astype(str),
        receiver_account="terminal-" + rows["receiver_account"].astype(str),
        pattern=rows["pattern"].map(SCENARIOS),
    )


def read_sparkov(data: Path) -> pd.DataFrame:
    """Read transactions made by the Sparkov generator; they have no patterns.

    Sender = account, receiver = merchant. Raises ``PipelineError`` if it is not that file.
    """
    columns = {
        "trans_num": "transaction_id",
        "trans_date_trans_time": "transaction_timestamp",
        "amt": "transaction_amount",
        "account": "sender_account",
        "merchant": "receiver_account",
        "is_fraud": "is_fraud",
    }
    rows = _read(data, columns)
    return _labelled(
        rows,
        sender_account="account-" + rows["sender_account"].astype(str),
        receiver_account="merchant-" + rows["receiver_account"].astype(str),
        pattern=None,
    )


def _read(data: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    path = data / FILE if data.is_dir() else data
    try:
        return pd.read_parquet(path, columns=list(columns)).rename(columns=columns)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        summary = " ".join(str(error).split())
        raise PipelineError(f"DATA={data}: {path.name} cannot be read ({summary})") from error


def _labelled(rows: pd.DataFrame, **replaced: pd.Series[str] | None) -> pd.DataFrame:
    """Return ``COLUMNS`` in time order; rows of one time keep their order."""
    times = pd.to_datetime(rows["transaction_timestamp"], utc=True)
    return (
        rows.assign(
            transaction_id=rows["transaction_id"].astype(str),
            transaction_timestamp=times.astype("datetime64[ms, UTC]"),
            transaction_amount=rows["transaction_amount"].astype(float),
            transaction_type="payment",
            transaction_status="completed",
            is_fraud=rows["is_fraud"].astype(bool),
            **replaced,
        )
        .sort_values("transaction_timestamp", kind="stable", ignore_index=True)
        .loc[:, COLUMNS]
    )
