"""Typed settings: ``config.yml`` overridden by the environment, checked at start.

``load_settings`` is the only reader of either. Every key of ``config.yml`` is a field of one of
the frozen classes below, and the other way round; there are no defaults in code.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import yaml

from pipeline.errors import ConfigError

ENV_PREFIX = "FRAUD__"
PROJECT_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Range:
    """Inclusive bounds of a number."""

    low: float
    high: float

    def problem(self, value: Any) -> str | None:
        if math.isfinite(value) and self.low <= value <= self.high:
            return None
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Url:
    """An http URL with a port and nothing behind it."""

    def problem(self, value: str) -> str | None:
        try:
            parts = urlsplit(value)
            valid = parts.scheme == "http" and parts.hostname and parts.port and not parts.query
        except ValueError:
            valid = False
        return None if valid else "a URL such as http://127.0.0.1:8081"


@dataclass(frozen=True)
class HostPort:
    """``host:port``, comma separated."""

    def problem(self, value: str) -> str | None:
        pairs = [item.rpartition(":") for item in value.split(",")]
        valid = all(host.strip() and port.isdecimal() for host, _, port in pairs)
        return None if valid else "host:port, comma separated"


@dataclass(frozen=True)
class Text:
    """Text that must not be empty."""

    def problem(self, value: str) -> str | None:
        return None if value.strip() else "a text that is not empty"


@dataclass(frozen=True)
class Memory:
    """A JVM memory size."""

    def problem(self, value: str) -> str | None:
        valid = value[:-1].isdecimal() and value[-1:] in ("m", "g")
        return None if valid else "a size such as 512m or 2g"


Port = Annotated[int, Range(1, 65535)]
Name = Annotated[str, Text()]
Days = Annotated[int, Range(1, 3650)]


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
    password: Secret
    raw_ttl_days: Days
    alert_ttl_days: Days


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
    simulator: SimulatorConfig
    scoring: ScoringConfig
    dashboard: DashboardConfig
    display: DisplayConfig
    local: LocalConfig


def load_settings(
    path: Path = PROJECT_ROOT / "config.yml", environment: Mapping[str, str] = os.environ
) -> Settings:
    """Read ``path``, apply ``FRAUD__SECTION__KEY`` variables and check every value.

    A variable ``FRAUD__SECTION__KEY_FILE`` names a file that holds the value (a secret).
    Raises ``ConfigError`` with one line that names the key, the value and what is allowed.
    """
    document = _read_document(path)
    sections = {field.name for field in dataclasses.fields(Settings)}
    _reject_unknown(document, sections, prefix="")
    overrides = _environment_overrides(environment, sections)
    loaded = {}
    for section, section_type in typing.get_type_hints(Settings).items():
        values = document.get(section)
        if not isinstance(values, dict):
            raise ConfigError(f"{section}: missing in {path.name}; it must be a section of keys")
        loaded[section] = _load_section(section, section_type, values, overrides, path.name)
    return Settings(**loaded)


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        summary = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML ({summary})") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must hold sections of keys")
    return document


def _environment_overrides(
    environment: Mapping[str, str], sections: set[str]
) -> dict[tuple[str, str], str]:
    """Return {(section, key): text} of the variables; unknown ones raise ``ConfigError``."""
    types = typing.get_type_hints(Settings)
    overrides = {}
    for variable, text in environment.items():
        if not variable.startswith(ENV_PREFIX):
            continue
        section, _, key = variable.removeprefix(ENV_PREFIX).lower().partition("__")
        if section not in sections:
            raise ConfigError(f"{variable}: unknown section{_nearest(section, sections)}")
        keys = {field.name for field in dataclasses.fields(types[section])}
        if key not in keys and key.endswith("_file") and key.removesuffix("_file") in keys:
            key = key.removesuffix("_file")
            try:
                text = Path(text).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{variable}: the file {text!r} cannot be read") from error
        if key not in keys:
            raise ConfigError(f"{variable}: unknown key{_nearest(key, keys)}")
        overrides[section, key] = text
    return overrides


def _load_section(
    section: str,
    section_type: Any,
    values: dict[str, Any],
    overrides: dict[tuple[str, str], str],
    file_name: str,
) -> Any:
    hints = typing.get_type_hints(section_type, include_extras=True)
    _reject_unknown(values, set(hints), prefix=f"{section}.")
    loaded = {}
    for key, hint in hints.items():
        name = f"{section}.{key}"
        if (section, key) in overrides:
            value = _from_text(name, overrides[section, key], hint)
        elif key in values:
            value = values[key]
        else:
            raise ConfigError(f"{name}: missing in {file_name}")
        loaded[key] = _checked(name, value, hint)
    return section_type(**loaded)


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
    if plain is float and type(value) is int:
        value = float(value)
    if plain is Secret and type(value) is str:
        value = Secret(value)
    if type(value) is not plain:
        wanted = _WANTED.get(plain, "a text")
        raise ConfigError(f"{name}: {value!r} is not allowed; it must be {wanted}")
    for check in checks:
        if (wanted := check.problem(value)) is not None:
            raise ConfigError(f"{name}: {value!r} is not allowed; it must be {wanted}")
    return value


def _reject_unknown(values: Mapping[str, Any], known: set[str], prefix: str) -> None:
    for key in values:
        if key not in known:
            raise ConfigError(f"{prefix}{key}: unknown key{_nearest(str(key), known)}")


def _nearest(key: str, known: set[str]) -> str:
    matches = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.5)
    if matches:
        return f"; did you mean {matches[0]}?"
    return f"; known are {', '.join(sorted(known))}"
