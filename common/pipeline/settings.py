"""Typed settings: ``config.yml`` overridden by the environment, checked at start.

``load_settings`` is the only reader of either. Every key of ``config.yml`` is a field of one of
the frozen classes below, and the other way round; there are no defaults in code.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from pipeline.errors import ConfigError
from pipeline.names import ALERTS_TOPIC, DEAD_LETTER_TOPIC, GROUND_TRUTH_TOPIC, TRANSACTIONS_TOPIC
from pipeline.records import TRANSACTION_STATUSES, TRANSACTION_TYPES

ENV_PREFIX = "FRAUD__"
PROJECT_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Range:
    """Inclusive bounds of a number."""

    low: float
    high: float

    def problem(self, value: Any) -> str | None:
        if self.low <= value <= self.high:  # false for NaN as well
            return None
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Url:
    """An http URL with a port and nothing behind it."""

    def problem(self, value: str) -> str | None:
        try:
            parts = urlsplit(value)
            valid = parts.scheme == "http" and parts.hostname and parts.port
            valid = valid and not (parts.query or parts.fragment or re.search(r"\s", value))
        except ValueError:
            valid = False
        return None if valid else "a URL such as http://127.0.0.1:8081"


@dataclass(frozen=True)
class HostPort:
    """``host:port``, comma separated."""

    def problem(self, value: str) -> str | None:
        pairs = [item.strip().rpartition(":") for item in value.split(",")]
        valid = all(_is_host(host) and _is_port(port) for host, _, port in pairs)
        return None if valid else "host:port, comma separated"


def _is_host(text: str) -> bool:
    return re.fullmatch(r"[^\s:]+|\[[0-9a-fA-F:.]+\]", text) is not None


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 1 <= int(text) <= 65535


@dataclass(frozen=True)
class Text:
    """Text that must not be empty, in one line."""

    def problem(self, value: str) -> str | None:
        valid = value.strip() and value.isprintable()
        return None if valid else "a text that is not empty and has no control characters"


@dataclass(frozen=True)
class Memory:
    """A JVM memory size."""

    def problem(self, value: str) -> str | None:
        valid = re.fullmatch(r"[1-9][0-9]{0,8}[mg]", value)
        return None if valid else "a size such as 512m or 2g"


@dataclass(frozen=True)
class OneOf:
    """One of a few texts."""

    allowed: tuple[str, ...]

    def problem(self, value: str) -> str | None:
        return None if value in self.allowed else f"one of {', '.join(self.allowed)}"


@dataclass(frozen=True)
class Pattern:
    """A text of a given form."""

    form: str
    wanted: str

    def problem(self, value: str) -> str | None:
        return None if re.fullmatch(self.form, value) else self.wanted


@dataclass(frozen=True)
class ValuePairs:
    """``theirs=ours``, comma separated, each ``ours`` one of a few texts; may be empty."""

    allowed: tuple[str, ...]

    def problem(self, value: str) -> str | None:
        pairs = [pair.partition("=") for pair in value.split(",")] if value else []
        valid = all(theirs.strip() and ours.strip() in self.allowed for theirs, _, ours in pairs)
        return None if valid else f"THEIRS=OURS, comma separated, OURS of {', '.join(self.allowed)}"


Port = Annotated[int, Range(1, 65535)]
Name = Annotated[str, Text()]
Days = Annotated[int, Range(1, 3650)]

_PATH = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"
FieldPath = Annotated[str, Pattern(_PATH, "a field, or a path such as payer.iban")]
OptionalFieldPath = Annotated[str, Pattern(f"({_PATH})?", "a field, a path, or empty")]


@dataclass(frozen=True)
class OwnSecret:
    """A secret that is not one of those that everybody tries first; empty means no login."""

    def problem(self, value: str) -> str | None:
        is_known = value.lower() in ("changeme", "password", "cassandra")
        return "a password of your own, not one from an example" if is_known else None


class Secret(str):
    """A text whose ``repr`` does not show it."""

    def __repr__(self) -> str:
        return "'***'" if self else "''"


@dataclass(frozen=True)
class KafkaConfig:
    bootstrap_servers: Annotated[str, HostPort()]
    partitions: Annotated[int, Range(1, 64)]
    replication_factor: Annotated[int, Range(1, 5)]
    transactions_retention_days: Annotated[int, Range(1, 36_500)]
    transactions_retention_gib: Annotated[float, Range(0.1, 1e6)]
    dead_letter_retention_days: Days


@dataclass(frozen=True)
class RegistryConfig:
    url: Annotated[str, Url()]


@dataclass(frozen=True)
class ConnectConfig:
    url: Annotated[str, Url()]
    tasks: Annotated[int, Range(1, 64)]


@dataclass(frozen=True)
class CassandraConfig:
    contact_points: Name
    port: Port
    datacenter: Name
    username: str
    password: Annotated[Secret, OwnSecret()]
    raw_ttl_days: Days
    alert_ttl_days: Days


@dataclass(frozen=True)
class MappingConfig:
    """Where each of our fields stands in the records of the source's topic."""

    transaction_id: FieldPath
    transaction_timestamp: FieldPath
    transaction_amount: FieldPath
    sender_account: FieldPath
    receiver_account: FieldPath
    transaction_type: OptionalFieldPath
    transaction_status: OptionalFieldPath


@dataclass(frozen=True)
class SourceConfig:
    topic: Annotated[
        str, Pattern(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}", "the name of a Kafka topic")
    ]
    mapping: MappingConfig
    time_format: Annotated[str, OneOf(("epoch_s", "epoch_ms", "epoch_us", "iso_8601"))]
    amount_divisor: Annotated[int, Range(1, 1_000_000_000)]
    type_values: Annotated[str, ValuePairs(TRANSACTION_TYPES)]
    status_values: Annotated[str, ValuePairs(TRANSACTION_STATUSES)]
    default_type: Annotated[str, OneOf(TRANSACTION_TYPES)]
    default_status: Annotated[str, OneOf(TRANSACTION_STATUSES)]


@dataclass(frozen=True)
class SimulatorConfig:
    enabled: bool
    seed: Annotated[int, Range(0, 2**31 - 1)]
    accounts: Annotated[int, Range(20, 1_000_000)]
    rate_per_s: Annotated[float, Range(0.1, 1e6)]
    history_per_account: Annotated[int, Range(0, 1000)]
    fraud_rate: Annotated[float, Range(0, 0.2)]


@dataclass(frozen=True)
class ScoringConfig:
    allowed_lateness_s: Annotated[int, Range(1, 3600)]
    max_records_per_batch: Annotated[int, Range(100, 5_000_000)]
    shuffle_partitions: Annotated[int, Range(1, 64)]
    driver_memory: Annotated[str, Memory()]
    known_receiver_weight: Annotated[float, Range(0, 1)]
    max_amount_feature: bool
    large_amount: Annotated[float, Range(0, 1e12)]
    model_dir: Name
    checkpoint_dir: Name


@dataclass(frozen=True)
class DashboardConfig:
    host: Name
    port: Port
    threads: Annotated[int, Range(2, 256)]
    query_timeout_s: Annotated[float, Range(0.1, 10)]
    stale_after_s: Annotated[float, Range(5, 3600)]


@dataclass(frozen=True)
class DisplayConfig:
    currency: Name


@dataclass(frozen=True)
class LocalConfig:
    dir: Name
    fast_start: bool
    kafka_controller_port: Port
    cassandra_storage_port: Port


@dataclass(frozen=True)
class Settings:
    kafka: KafkaConfig
    registry: RegistryConfig
    connect: ConnectConfig
    cassandra: CassandraConfig
    source: SourceConfig
    simulator: SimulatorConfig
    scoring: ScoringConfig
    dashboard: DashboardConfig
    display: DisplayConfig
    local: LocalConfig


def load_settings(
    path: Path = PROJECT_ROOT / "config.yml", environment: Mapping[str, str] = os.environ
) -> Settings:
    """Read ``path``, apply ``FRAUD__SECTION__KEY`` variables and check every value.

    A section within a section is one more part of the variable. ``FRAUD__SECTION__KEY_FILE``
    names a file that holds the value (a secret).
    Raises ``ConfigError`` with one line that names the key, the value and what is allowed.
    """
    overrides = _environment_overrides(environment)
    loaded = _load_section("", Settings, _read_document(path), overrides, path.name)
    settings = typing.cast(Settings, loaded)
    if settings.source.topic in (ALERTS_TOPIC, DEAD_LETTER_TOPIC, GROUND_TRUTH_TOPIC):
        # Each dead letter would come back as the next one, without end.
        raise ConfigError(
            f"source.topic: {settings.source.topic!r} is not allowed; the pipeline itself writes it"
        )
    if settings.simulator.enabled and settings.source.topic != TRANSACTIONS_TOPIC:
        raise ConfigError(
            f"simulator.enabled: True is not allowed; it writes {TRANSACTIONS_TOPIC}, and"
            f" source.topic is {settings.source.topic}"
        )
    return settings


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)  # noqa: S506
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as a 30 February
        summary = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML ({summary})") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must hold sections of keys")
    return document


class _PlainLoader(yaml.SafeLoader):
    """YAML as config.yml needs it. An alias can stand for more than any memory holds, and of a
    key that is there twice the first value would be lost in silence."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise ComposerError(None, None, "an alias is not allowed", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _environment_overrides(environment: Mapping[str, str]) -> dict[str, str]:
    """Return {dotted name: text} of the variables; unknown ones raise ``ConfigError``."""
    overrides = {}
    for variable, text in environment.items():
        if not variable.startswith(ENV_PREFIX):
            continue
        *sections, key = variable.removeprefix(ENV_PREFIX).lower().split("__")
        section_type: Any = Settings
        for section in sections or [key]:
            known = _keys(section_type, are_sections=True)
            if section not in known:
                raise ConfigError(f"{variable}: unknown section{_nearest(section, set(known))}")
            section_type = known[section]
        keys = _keys(section_type, are_sections=False)
        if key not in keys and key.removesuffix("_file") in keys:
            key = key.removesuffix("_file")
            text = _read_secret(variable, text)
        if key not in keys:
            raise ConfigError(f"{variable}: unknown key{_nearest(key, set(keys))}")
        name = ".".join((*sections, key))
        if name in overrides:
            raise ConfigError(f"{variable}: another variable sets {name} too")
        overrides[name] = text
    return overrides


def _read_secret(variable: str, file: str) -> str:
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:  # UnicodeDecodeError, or no name of a file
        raise ConfigError(f"{variable}: the file {file!r} cannot be read") from error
    if not text:
        raise ConfigError(f"{variable}: the file {file!r} is empty")
    return text


def _load_section(
    name: str,
    section_type: Any,
    values: Any,
    overrides: Mapping[str, str],
    file_name: str,
) -> Any:
    """Load a section and those within it; the whole file is the section without a name."""
    if not isinstance(values, dict):
        raise ConfigError(f"{name}: missing in {file_name}; it must be a section of keys")
    hints = typing.get_type_hints(section_type, include_extras=True)
    prefix = f"{name}." if name else ""
    _reject_unknown(values, set(hints), prefix)
    loaded = {}
    for key, hint in hints.items():
        full = f"{prefix}{key}"
        if dataclasses.is_dataclass(hint):
            loaded[key] = _load_section(full, hint, values.get(key), overrides, file_name)
        elif full in overrides:
            loaded[key] = _checked(full, _from_text(full, overrides[full], hint), hint)
        elif key in values:
            loaded[key] = _checked(full, values[key], hint)
        else:
            raise ConfigError(f"{full}: missing in {file_name}")
    return section_type(**loaded)


def _keys(section_type: Any, *, are_sections: bool) -> dict[str, Any]:
    """Return {key: type} of the sections within a section, or of its plain keys."""
    hints = typing.get_type_hints(section_type)
    return {
        key: hint for key, hint in hints.items() if dataclasses.is_dataclass(hint) == are_sections
    }


def _split_hint(hint: Any) -> tuple[Any, list[Any]]:
    """Return the plain type and the checks of a field's type hint."""
    if typing.get_origin(hint) is Annotated:
        plain, *checks = typing.get_args(hint)
        return plain, checks
    return hint, []


_WANTED = {bool: "true or false", int: "a whole number", float: "a number"}


def _from_text(name: str, text: str, hint: Any) -> Any:
    plain, _ = _split_hint(hint)
    if plain is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
    elif plain in (int, float):
        try:
            return plain(text)
        except ValueError:
            pass
    else:
        return text
    raise ConfigError(f"{name}: {text!r} is not allowed; it must be {_WANTED[plain]}")


def _checked(name: str, value: Any, hint: Any) -> Any:
    plain, checks = _split_hint(hint)
    if plain is float and type(value) is int and abs(value) < 2**53:
        value = float(value)
    if plain is Secret and type(value) is str:
        value = Secret(value)
    if type(value) is not plain:
        wanted = _WANTED.get(plain, "a text")
        shown = "a value of another type" if plain is Secret else repr(value)
        raise ConfigError(f"{name}: {shown} is not allowed; it must be {wanted}")
    for check in checks:
        if (wanted := check.problem(value)) is not None:
            raise ConfigError(f"{name}: {value!r} is not allowed; it must be {wanted}")
    return value


def _reject_unknown(values: Mapping[str, Any], known: set[str], prefix: str) -> None:
    for key in values:
        if key not in known:
            name = f"{prefix}{key}"
            shown = name if name.isprintable() else repr(name)
            raise ConfigError(f"{shown}: unknown key{_nearest(str(key), known)}")


def _nearest(key: str, known: set[str]) -> str:
    matches = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.5)
    if matches:
        return f"; did you mean {matches[0]}?"
    return f"; known are {', '.join(sorted(known))}"
