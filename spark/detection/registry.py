"""The schemas of the topic, as the schema registry has them."""

from __future__ import annotations

from typing import Any

import requests

from pipeline.errors import PipelineError
from pipeline.names import value_subject

TIMEOUT_S = 5.0


class RegistryError(PipelineError):
    """The schema registry does not answer, or does not know the topic's schema yet."""


def fetch_schemas(url: str, topic: str) -> dict[int, str]:
    """Return {schema id: Avro schema (JSON)} of all versions of the topic's subject.

    Raises ``RegistryError`` if there are none or the registry is away.
    """
    subject = value_subject(topic)
    versions_url = f"{url}/subjects/{subject}/versions"
    try:
        with requests.Session() as session:
            versions = _get(session, versions_url)
            found = [_get(session, f"{versions_url}/{version}") for version in versions]
    except (requests.RequestException, ValueError) as error:
        raise RegistryError(f"registry: {subject}: {error}") from error
    return {entry["id"]: entry["schema"] for entry in found}


def _get(session: requests.Session, url: str) -> Any:
    response = session.get(url, timeout=TIMEOUT_S)
    response.raise_for_status()
    return response.json()
