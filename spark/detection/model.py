"""The model on disk: a versioned Spark ML ``PipelineModel`` with its card.

``<model_dir>/<version>/pipeline`` assembles the features, scales them and clusters them;
``model_card.json`` beside it holds everything else. ``<model_dir>/CURRENT`` names the version
that a deployment begins with; what it uses later is its own affair (see ``versions.py``).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from detection.score import FEATURES, Constants, Scorer
from pipeline.errors import PipelineError

CARD_FILE = "model_card.json"
PIPELINE_FOLDER = "pipeline"
CURRENT_FILE = "CURRENT"

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
    """Load a version, without Spark: a running job does it beside its batches.

    ``large_amount`` is the setting that the views are kept under. Raises ``ModelError`` if the
    version is missing, if a file differs from the hash in its card, or if it was trained on other
    features than this code computes or for another ``large_amount``.
    """
    folder = model_dir / checked_version(version)
    card = read_card(folder)
    names = tuple(feature["name"] for feature in card["features"])
    if card["features"] != described(names):
        raise ModelError(f"{folder}: trained on other features; run `make train-model`")
    if card["large_amount"] != large_amount:
        raise ModelError(
            f"{folder}: trained for scoring.large_amount = {card['large_amount']}, which is"
            f" {large_amount} now; set it back or run `make train-model`"
        )
    try:
        if card["sha256"] != folder_hashes(folder / PIPELINE_FOLDER):
            raise ModelError(f"{folder}: files differ from the hashes in {CARD_FILE}; restore them")
        assembler, scaler, kmeans = _stages(folder / PIPELINE_FOLDER)
        if _parameters(assembler)["inputCols"] != list(names):
            raise ModelError(f"{folder}: its pipeline takes other columns; run `make train-model`")
        return Model(
            version=version,
            scorer=Scorer(
                constants=Constants(**card["constants"]),
                features=names,
                centre=_centre(kmeans, card["majority_cluster"]),
                scales=1 / np.array(_parameters(scaler)["scalingVec"]["values"]),
            ),
            review_threshold=float(card["thresholds"]["review"]),
            alert_threshold=float(card["thresholds"]["alert"]),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}: cannot be used ({error!r}); restore it") from error


def checked_version(version: str) -> str:
    """Return ``version`` if it can be one; ``ModelError`` else: it becomes part of a path."""
    if _VERSION.fullmatch(version) is None:
        raise ModelError(f"{version!r} is not a version; `make models` lists them")
    return version


def current_version(model_dir: Path) -> str:
    """Return the version that ``CURRENT`` names; ``ModelError`` if there is none."""
    try:
        version = (model_dir / CURRENT_FILE).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ModelError(
            f"{model_dir / CURRENT_FILE}: cannot be read; run `make train-model`"
        ) from error
    return checked_version(version)


def folder_hashes(folder: Path) -> dict[str, str]:
    """Return {relative path: SHA-256} of all visible files below ``folder``."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card of a version; ``ModelError`` if it cannot be read or lacks a key."""
    try:
        card: dict[str, Any] = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{folder}: no such version; `make models` lists them") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / CARD_FILE}: cannot be read ({error})") from error
    wanted = {"features", "large_amount", "constants", "majority_cluster", "thresholds", "sha256"}
    if missing := wanted - card.keys():
        raise ModelError(f"{folder / CARD_FILE}: lacks {', '.join(sorted(missing))}")
    return card


def _stages(pipeline: Path) -> list[Path]:
    """Return the folders of the stages of a saved ``PipelineModel``, in their order."""
    return [
        pipeline / "stages" / f"{number}_{uid}"
        for number, uid in enumerate(_parameters(pipeline)["stageUids"])
    ]


def _parameters(saved: Path) -> dict[str, Any]:
    """Return the parameters of anything that Spark ML saved: one line of JSON."""
    text = (saved / "metadata" / "part-00000").read_text(encoding="utf-8")
    parameters: dict[str, Any] = json.loads(text)["paramMap"]
    return parameters


def _centre(kmeans: Path, cluster: int) -> Any:
    centres = pd.read_parquet(kmeans / "data").set_index("clusterIdx")["clusterCenter"]
    return np.asarray(centres[cluster]["values"])
