"""The Avro schema of the transactions in the registry: ours to register, theirs to read."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import requests

from pipeline import names
from pipeline.errors import PipelineError
from pipeline.records import SCHEMA_JSON
from pipeline.settings import SourceConfig
from pipeline.source import problem
from registration.waiting import REQUEST_TIMEOUT_S, wait_until

COMPATIBILITY = "FULL_TRANSITIVE"
"""Old and new readers both read old and new records, so services need not be updated together."""

_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"

logger = logging.getLogger(__name__)


def register_schema(url: str) -> int:
    """Wait for the registry, register ``schema.avsc`` and return its id.

    Raises ``PipelineError`` if the registry does not come, or refuses the schema as incompatible
    with an earlier version.
    """
    wait_until(lambda: _registry_missing(url))
    subject = names.TRANSACTIONS_SUBJECT
    # A registry may know no setting of a subject before its first version, which has nothing to
    # be compatible with.
    is_protected = _set_compatibility(url, subject)
    answer = _request(
        "POST", f"{url}/subjects/{subject}/versions", {"schema": SCHEMA_JSON, "schemaType": "AVRO"}
    )
    if answer.status_code == requests.codes.conflict:
        raise PipelineError(
            f"schema.avsc is not {COMPATIBILITY} with the versions of subject {subject}"
            f" ({_reason(answer)}): later fields must be optional with a default"
        )
    if not answer.ok:
        raise PipelineError(f"the registry refuses schema.avsc: {_reason(answer)}")
    if not is_protected and not _set_compatibility(url, subject):
        raise PipelineError(f"the registry refuses the compatibility {COMPATIBILITY} of {subject}")
    schema_id = int(answer.json()["id"])
    logger.info("subject %s holds schema.avsc under id %d", subject, schema_id)
    return schema_id


def wait_for_source(url: str, source: SourceConfig) -> None:
    """Wait until the registry holds a schema of a topic that is not ours, and check the mapping.

    Raises ``PipelineError`` if there is none, or its newest version does not fit the mapping.
    """
    subject = names.value_subject(source.topic)
    wait_until(lambda: _registry_missing(url))
    wait_until(lambda: _subject_missing(url, subject))
    newest = _request("GET", f"{url}/subjects/{subject}/versions/latest").json()
    if (mismatch := problem(newest["schema"], source)) is not None:
        raise PipelineError(mismatch)
    logger.info("the newest version of subject %s fits source.mapping", subject)


def _subject_missing(url: str, subject: str) -> str | None:
    answer = _request("GET", f"{url}/subjects/{subject}/versions")
    if answer.ok:
        return None
    return f"the registry has no subject {subject} (of source.topic): {_reason(answer)}"


def _registry_missing(url: str) -> str | None:
    try:
        answer = requests.get(f"{url}/subjects", timeout=REQUEST_TIMEOUT_S)
    except requests.RequestException as error:
        return f"the schema registry does not answer at {url} ({type(error).__name__})"
    return None if answer.ok else f"the schema registry at {url} says {_reason(answer)}"


def _set_compatibility(url: str, subject: str) -> bool:
    answer = _request("PUT", f"{url}/config/{subject}", {"compatibility": COMPATIBILITY})
    return answer.ok


def _request(method: str, url: str, body: Mapping[str, str] | None = None) -> requests.Response:
    try:
        return requests.request(
            method,
            url,
            json=body,
            headers={"Content-Type": _MEDIA_TYPE},
            timeout=REQUEST_TIMEOUT_S,
        )
    except requests.RequestException as error:
        raise PipelineError(f"the schema registry went away: {error}") from error


def _reason(answer: requests.Response) -> str:
    return f"HTTP {answer.status_code}: {' '.join(answer.text.split())[:300]}"
