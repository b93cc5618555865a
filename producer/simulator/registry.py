"""The id of the transaction schema in the schema registry."""

from __future__ import annotations

import http.client
import json
from typing import Final
from urllib.parse import urlsplit

from pipeline.errors import PipelineError
from pipeline.names import TRANSACTIONS_SUBJECT
from pipeline.records import SCHEMA_JSON

REQUEST_TIMEOUT_S: Final = 5.0
REFUSED: Final = (409, 422)
"""Incompatible with the subject's earlier versions, or no valid schema: trying again is in vain."""


class RegistryUnavailableError(Exception):
    """The registry gave no answer that settles the matter; worth another try."""


def register_schema(url: str) -> int:
    """Register ``schema.avsc`` for the topic's values and return its id; idempotent.

    Raises ``RegistryUnavailableError`` when it is worth another try, ``PipelineError`` when the
    registry refuses the schema.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port, timeout=REQUEST_TIMEOUT_S
    )
    try:
        connection.request(
            "POST",
            f"{parts.path.rstrip('/')}/subjects/{TRANSACTIONS_SUBJECT}/versions",
            body=json.dumps({"schema": SCHEMA_JSON}),
            headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
        )
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise RegistryUnavailableError(f"{url}: {error}") from error
    finally:
        connection.close()
    if response.status in REFUSED:
        answer = body.decode("utf-8", "replace")
        raise PipelineError(
            f"the registry refuses schema.avsc for {TRANSACTIONS_SUBJECT} ({answer}): new fields"
            " must be optional with a default"
        )
    if response.status != http.client.OK:
        raise RegistryUnavailableError(f"{url}: HTTP status {response.status}")
    return int(json.loads(body)["id"])
