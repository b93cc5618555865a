"""The base of every error that the pipeline raises on purpose."""

from __future__ import annotations


class PipelineError(Exception):
    """A condition that the message explains; services print it as one line and exit non-zero."""


class ConfigError(PipelineError):
    """A setting is missing, unknown or out of range. Services exit with status 2."""
