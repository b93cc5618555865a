"""The models that the job scores with, as ``models.json`` names them at the moment."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass
from pathlib import Path

from detection.model import Model, ModelError, load_model
from detection.versions import read_versions
from pipeline.errors import PipelineError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """What scores a batch: ``live`` raises alerts, ``shadow`` records those that it would."""

    live: Model
    shadow: Model | None


@dataclass(frozen=True)
class ScoredBy:
    """The versions that scored a batch.

    ``since``: start of the first batch of the unbroken sequence that both have scored; None in
    rows that an older job wrote.
    """

    model_version: str
    shadow_version: str | None
    since: dt.datetime | None


class ModelSource:
    """Follows ``models.json``; loading a version takes milliseconds, so each batch may ask.

    ``large_amount`` is the setting that the views are kept under, the same for every version.
    The constructor raises ``PipelineError`` if there is no live version to begin with. After
    that nothing does: what cannot be loaded leaves the live version as it was or the shadow out,
    and ``error`` says why in one line.
    """

    def __init__(self, model_dir: Path, checkpoint_dir: Path, large_amount: float) -> None:
        self._model_dir = model_dir
        self._large_amount = large_amount
        self._checkpoint_dir = checkpoint_dir
        self.error: str | None = None
        live = read_versions(checkpoint_dir, model_dir).live
        self._models = Models(load_model(model_dir, live, large_amount), None)
        self.current()

    def current(self) -> Models:
        """Return the models for the next batch."""
        problems = []
        live = self._models.live
        try:
            versions = read_versions(self._checkpoint_dir, self._model_dir)
        except PipelineError as error:
            self._report([f"{error}; {live.version} stays live"])
            return self._models
        try:
            live = self._model(versions.live)
        except ModelError as error:
            problems.append(f"{error}; {live.version} stays live")
        shadow, shadow_problems = self._shadow(versions.shadow)
        self._models = Models(live, shadow)
        self._report(problems + shadow_problems)
        return self._models

    def recorded(self, scored_by: ScoredBy) -> Models:
        """Return the models of a batch that is repeated; ``ModelError`` if the live one is gone."""
        shadow, problems = self._shadow(scored_by.shadow_version)
        self._report(problems)
        return Models(self._model(scored_by.model_version), shadow)

    def _shadow(self, version: str | None) -> tuple[Model | None, list[str]]:
        try:
            return (None if version is None else self._model(version)), []
        except ModelError as error:
            return None, [f"no shadow: {error}"]

    def _model(self, version: str) -> Model:
        for loaded in (self._models.live, self._models.shadow):
            if loaded is not None and loaded.version == version:
                return loaded
        return load_model(self._model_dir, version, self._large_amount)

    def _report(self, problems: list[str]) -> None:
        error = "; ".join(problems) or None
        if error is not None and error != self.error:
            logger.error("%s", error)
        self.error = error
