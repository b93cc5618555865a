"""The model on disk: a versioned Spark ML ``PipelineModel`` with its card.

``<model_dir>/<version>/pipeline`` assembles the features, scales them and clusters them;
``model_card.json`` beside it holds everything else. ``<model_dir>/CURRENT`` names the version
that the job uses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from pyspark.ml import PipelineModel
from pyspark.ml.clustering import KMeansModel
from pyspark.ml.feature import ElementwiseProduct, VectorAssembler

from detection.score import FEATURES, Constants, Scorer
from pipeline.errors import PipelineError

CARD_FILE = "model_card.json"
PIPELINE_FOLDER = "pipeline"
CURRENT_FILE = "CURRENT"


class ModelError(PipelineError):
    """A model is missing, damaged, or made for other features."""


@dataclass(frozen=True)
class Model:
    """A version that is ready to score; thresholds are scores (distances)."""

    version: str
    scorer: Scorer
    review_threshold: float
    alert_threshold: float


def described(names: Iterable[str]) -> list[dict[str, Any]]:
    """Return name, scale and formula of each feature, as the card holds them."""
    by_name = {feature.name: feature for feature in FEATURES}
    return [
        {"name": name, "scale": by_name[name].scale, "formula": by_name[name].formula}
        for name in names
        if name in by_name
    ]


def load_model(model_dir: Path, version: str, large_amount: float) -> Model:
    """Load a version; needs a running Spark session.

    ``large_amount`` is the setting that the views are kept under. Raises ``ModelError`` if the
    version is missing, if a file differs from the hash in its card, or if it was trained on other
    features than this code computes or for another ``large_amount``.
    """
    folder = model_dir / version
    card = _read_card(folder)
    names = tuple(feature["name"] for feature in card["features"])
    if card["features"] != described(names):
        raise ModelError(f"{folder}: trained on other features; run `make train-model`")
    if card["large_amount"] != large_amount:
        raise ModelError(
            f"{folder}: trained for scoring.large_amount = {card['large_amount']}, which is"
            f" {large_amount} now; set it back or run `make train-model`"
        )
    if card["sha256"] != folder_hashes(folder / PIPELINE_FOLDER):
        raise ModelError(f"{folder}: files differ from the hashes in {CARD_FILE}; restore them")
    pipeline = PipelineModel.load(str(folder / PIPELINE_FOLDER))
    assembler, scaler, kmeans = pipeline.stages
    if cast(VectorAssembler, assembler).getInputCols() != list(names):
        raise ModelError(f"{folder}: its pipeline takes other columns; run `make train-model`")
    return Model(
        version=version,
        scorer=Scorer(
            constants=Constants(**card["constants"]),
            features=names,
            centre=np.array(cast(KMeansModel, kmeans).clusterCenters()[card["majority_cluster"]]),
            scales=1 / cast(ElementwiseProduct, scaler).getScalingVec().toArray(),
        ),
        review_threshold=card["thresholds"]["review"],
        alert_threshold=card["thresholds"]["alert"],
    )


def current_version(model_dir: Path) -> str:
    """Return the version that ``CURRENT`` names; ``ModelError`` if there is none."""
    try:
        version = (model_dir / CURRENT_FILE).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ModelError(
            f"{model_dir / CURRENT_FILE}: cannot be read; run `make train-model`"
        ) from error
    if not version or "/" in version or version.startswith("."):
        raise ModelError(f"{model_dir / CURRENT_FILE}: {version!r} is not a version")
    return version


def folder_hashes(folder: Path) -> dict[str, str]:
    """Return {relative path: SHA-256} of all visible files below ``folder``."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        card: dict[str, Any] = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / CARD_FILE}: cannot be read ({error})") from error
    wanted = {"features", "large_amount", "constants", "majority_cluster", "thresholds", "sha256"}
    if missing := wanted - card.keys():
        raise ModelError(f"{folder / CARD_FILE}: lacks {', '.join(sorted(missing))}")
    return card
