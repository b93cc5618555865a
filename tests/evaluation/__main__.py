"""How well the pipeline detects on two public labelled data sets.

``make evaluate-handbook`` and ``make evaluate-sparkov``; ``DATA=`` names the data, which are not
part of the repository.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from detection.emulate import BATCH_MS, link_history, read_labelled
from detection.score import active_features
from detection.session import spark_session
from detection.train import Options
from detection.views import MINUTE_MS, SENDER, active_views
from evaluation.metrics import precision_recall_curve
from pipeline.logs import run_service
from pipeline.settings import load_settings
from tests.evaluation.comparison import History, add_risks, fold_scores
from tests.evaluation.datasets import COLUMNS, read_handbook, read_sparkov
from tests.evaluation.figures import figures
from tests.evaluation.folds import HANDBOOK_STARTS, Fold, handbook_fold, sparkov_fold
from tests.evaluation.handbook import reproduce
from tests.evaluation.past import add_past
from tests.evaluation.report import write_report

DEFAULT = Options(active_features(False, 0.0), known_receiver_weight=0.5, large_amount=0.0)
LARGE_QUANTILE = 0.99
NOT_DRAWN = ("three_column_flag", "boosting_with_labels")


@dataclass(frozen=True)
class Protocol:
    """How a data set is judged.

    ``start`` and ``end``: of the days that are replayed. The profiles fill for 28 days before the
    first training slice begins. ``check`` measures published marks, ``settings`` are those of the
    pipeline; the last one has the view of a day if its ``large_amount`` is above 0.
    """

    read: Callable[[Path], pd.DataFrame]
    check: Callable[[pd.DataFrame], Mapping[str, float]]
    start: str
    end: str
    folds: Callable[[pd.DataFrame], list[Fold]]
    settings: Callable[[pd.DataFrame], Mapping[str, Options]]
    scope: str


def handbook_settings(rows: pd.DataFrame) -> Mapping[str, Options]:
    """Return the settings for frauds that run over known payees."""
    return {"pipeline": DEFAULT, "known_payees": Options(active_features(True, 0.0), 1.0, 0.0)}


def sparkov_settings(rows: pd.DataFrame) -> Mapping[str, Options]:
    """Return the settings for bursts of large amounts; what is large is learnt from training."""
    train = rows["transaction_amount"].iloc[sparkov_fold(rows).train]
    large = float(train.quantile(LARGE_QUANTILE))
    return {"pipeline": DEFAULT, "sender_day": Options(active_features(False, large), 0.5, large)}


PROTOCOLS = {
    "handbook": Protocol(
        read_handbook,
        reproduce,
        start="2018-06-24",
        end="2018-09-05",
        folds=lambda rows: [handbook_fold(rows, start) for start in HANDBOOK_STARTS],
        settings=handbook_settings,
        scope="The simulated data of the Fraud Detection Handbook, its four prequential folds: a"
        " week of training, a week until labels are known, a week of test without the cards whose"
        " fraud is known. By the transaction; CP@100: share of compromised cards among the daily"
        " top 100. Its published marks: autoencoder AP .18, AUC .836, CP@100 .217; isolation"
        " forest .164, .808, .19; best supervised .694, .879, .305; nothing can exceed CP@100"
        " .419. Simulated data: nothing here is a claim about fraud in the wild.",
    ),
    "sparkov": Protocol(
        read_sparkov,
        lambda rows: {},
        start="2020-02-23",
        end="2021-01-01",
        folds=lambda rows: [sparkov_fold(rows)],
        settings=sparkov_settings,
        scope="Transactions made by Sparkov: thirteen weeks of training until 2020-06-21, test"
        " from then on. By the transaction; CP@100: share of compromised accounts among the"
        " daily top 100. Simulated data: nothing here is a claim about fraud in the wild.",
    ),
}


def main() -> int:
    """Parse the command line and evaluate."""
    settings = load_settings()
    parser = argparse.ArgumentParser(prog="python -m tests.evaluation", description=__doc__)
    parser.add_argument("name", choices=PROTOCOLS)
    parser.add_argument("--data", type=Path, required=True, help="the data set: folder or file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    arguments = parser.parse_args()
    protocol = PROTOCOLS[arguments.name]
    rows = protocol.read(arguments.data)
    marks = protocol.check(rows)
    rows = add_past(add_risks(rows))
    time = rows["transaction_timestamp"]
    in_period = (time >= protocol.start) & (time < protocol.end)
    rows = rows[in_period].reset_index(drop=True)
    options = protocol.settings(rows)
    seed = settings.simulator.seed
    spark = spark_session("evaluate", "3g", shuffle_partitions=8)
    results, curves = {}, {}
    try:
        large_amount = max(each.large_amount for each in options.values())
        history = replay(spark, rows, settings.scoring.allowed_lateness_s, large_amount)
        for fold in protocol.folds(rows):
            scores = fold_scores(spark, history, fold, options, seed)
            results[fold.name] = {
                method: figures(history.rows, fold, of_method)
                for method, of_method in scores.items()
            }
            is_fraud = rows["is_fraud"].to_numpy()[fold.test]
            curves = {
                name: precision_recall_curve(is_fraud, test)
                for name, (_, test) in scores.items()
                if name not in NOT_DRAWN
            }
            print(f"{arguments.name}: fold {fold.name} done", flush=True)
    finally:
        spark.stop()
    write_report(arguments.out, arguments.name, protocol.scope, marks, results, curves)
    return 0


def replay(
    spark: SparkSession, rows: pd.DataFrame, allowed_lateness_s: int, large_amount: float
) -> History:
    """Return the rows as the pipeline sees them; see ``History``."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "labelled.parquet")
        rows[COLUMNS].to_parquet(path, index=False)
        decoded = read_labelled(spark, path).cache()
        links = link_history(decoded, allowed_lateness_s, active_views(large_amount))
        accounts = decoded.select("sender_account", F.expr(SENDER)).distinct().collect()
    batch = rows["transaction_timestamp"].to_numpy("datetime64[ms]").astype("int64") // BATCH_MS
    keyed = rows.assign(
        sender=rows["sender_account"].map(dict(accounts)),
        batch=batch,
        window_start=batch * BATCH_MS // MINUTE_MS * MINUTE_MS,
    )
    return History(keyed, decoded, links)


if __name__ == "__main__":
    sys.exit(run_service(main))
