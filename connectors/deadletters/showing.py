"""One letter, for a person. What comes out of a record is escaped: it may be hostile."""

from __future__ import annotations

import contextlib
from typing import Any, Final

from deadletters.content import Content, FindSchema, hex_dump, read
from deadletters.ledger import Entry
from deadletters.letters import MARKER, Letter, utc
from pipeline.names import DEAD_LETTER_TOPIC
from pipeline.records import is_late, rejection
from pipeline.settings import Settings
from pipeline.source import problem, to_transaction

MAX_SHOWN: Final = 300
"""Characters of one value; a stack trace in a header has thousands."""


def describe(
    letter: Letter, entry: Entry | None, settings: Settings, find: FindSchema, now_ms: int
) -> str:
    """Return all that is known of a letter; ``now_ms`` would be its next arrival."""
    content = read(letter.value, find)
    origin = letter.origin
    place = "not told by its headers" if origin is None else "{}/{}/{}".format(*origin)
    size = "null" if letter.value is None else f"{len(letter.value):,} bytes"
    lines = [
        f"letter       {DEAD_LETTER_TOPIC}/{letter.position}",
        f"reason       {letter.reason}",
        f"origin       {place}",
        f"arrival      {utc(letter.arrival_ms)}",
        f"re-injected  {entry or 'no'}",
        f"key          {_shown(letter.key)}",
        f"value        {size}",
        "",
        "headers",
    ]
    if MARKER in dict(letter.headers):
        lines[3:3] = [f"stems from   {_shown(dict(letter.headers)[MARKER])}"]
    lines += [f"  {_escaped(name)} = {_shown(value)}" for name, value in letter.headers]
    lines += ["", *_content_lines(letter, content), ""]
    lines.append(f"if re-injected now: {_verdict(content, settings, now_ms)}")
    return "\n".join(lines)


def _content_lines(letter: Letter, content: Content) -> list[str]:
    heading = "content" if content.schema_id is None else f"content, schema {content.schema_id}"
    lines = [heading]
    width = max((len(name) for name in content.fields), default=0)
    lines += [f"  {name:<{width}} = {_shown(value)}" for name, value in content.fields.items()]
    if content.problem is None:
        return lines + ([f"  {content.rest:,} more bytes follow"] if content.rest else [])
    lines.append(f"  cannot be decoded further: {_escaped(content.problem)}")
    if letter.value:
        lines += [f"  {line}" for line in hex_dump(letter.value, content.problem_at)]
    return lines


def _verdict(content: Content, settings: Settings, now_ms: int) -> str:
    """Tell what the record rules would say of the same bytes, arriving at ``now_ms``."""
    if content.schema is None or content.problem is not None:
        return "undecodable again"
    if (mismatch := problem(content.schema, settings.source)) is not None:
        return f"undecodable again ({mismatch})"
    transaction = to_transaction(content.fields, settings.source)
    if (reason := rejection(transaction, now_ms)) is not None or transaction is None:
        return f"{reason} again"
    timestamp_ms = transaction["transaction_timestamp"]
    if is_late(timestamp_ms, now_ms, settings.scoring.allowed_lateness_s):
        return "late: stored and in the profiles, not scored"
    return "stored and scored"


def _shown(value: Any) -> str:
    """Return a value on one line, without anything that a terminal would obey."""
    if isinstance(value, bytes):
        with contextlib.suppress(UnicodeDecodeError):
            value = value.decode()
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text):,} characters)"


def _escaped(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
