"""The settings loader: every wrong value is named in one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import ConfigError
from pipeline.settings import PROJECT_ROOT, Settings, load_settings

CONFIG = PROJECT_ROOT / "config.yml"


def error_of(environment: dict[str, str], path: Path = CONFIG) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environment)
    message = str(caught.value)
    assert "\n" not in message
    return message


def shape(settings: Any) -> Any:
    """Return sections and keys without the values."""
    is_section = isinstance(settings, dict)
    return {key: shape(value) for key, value in settings.items()} if is_section else None


def test_config_file_has_exactly_the_keys_of_the_dataclasses() -> None:
    document = yaml.safe_load(CONFIG.read_text())
    assert shape(document) == shape(dataclasses.asdict(load_settings(environment={})))


def test_environment_overrides_the_file() -> None:
    settings = load_settings(
        environment={"FRAUD__SIMULATOR__RATE_PER_S": "7", "FRAUD__SIMULATOR__ENABLED": "false"}
    )
    assert settings.simulator.rate_per_s == 7.0
    assert settings.simulator.enabled is False


def test_environment_reaches_a_section_within_a_section() -> None:
    variables = {
        "FRAUD__SOURCE__MAPPING__SENDER_ACCOUNT": "debtor.iban",
        "FRAUD__SOURCE__MAPPING__TRANSACTION_TYPE": "",
    }
    mapping = load_settings(environment=variables).source.mapping
    assert (mapping.sender_account, mapping.transaction_type) == ("debtor.iban", "")
    assert mapping.receiver_account == "receiver_account"


def test_a_secret_is_read_from_a_file_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hidden\n")
    settings = load_settings(
        environment={"FRAUD__CASSANDRA__PASSWORD_FILE": str(tmp_path / "password")}
    )
    assert settings.cassandra.password == "hidden"
    assert "hidden" not in repr(settings)


def test_a_secret_file_that_is_missing_is_named() -> None:
    message = error_of({"FRAUD__CASSANDRA__PASSWORD_FILE": "/no/such"})
    assert message.startswith("FRAUD__CASSANDRA__PASSWORD_FILE: the file '/no/such'")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("FRAUD__KAFKA__PARTITION", "2", "unknown key; did you mean partitions?"),
        ("FRAUD__KAFFKA__PARTITIONS", "2", "unknown section; did you mean kafka?"),
        ("FRAUD__KAFFKA", "2", "unknown section; did you mean kafka?"),
        ("FRAUD__SOURCE__MAPPING", "2", "unknown key; known are"),
        ("FRAUD__SOURCE__MAPING__SENDER_ACCOUNT", "a", "unknown section; did you mean mapping?"),
        ("FRAUD__SOURCE__MAPPING__SENDER", "a", "unknown key; did you mean sender_account?"),
        ("FRAUD__SOURCE__MAPPING__SENDER_ACCOUNT", "", "it must be a field, or a path"),
        ("FRAUD__SOURCE__MAPPING__TRANSACTION_TYPE", "a..b", "it must be a field, a path, or em"),
        ("FRAUD__SOURCE__TIME_FORMAT", "epoch", "it must be one of epoch_s, epoch_ms"),
        ("FRAUD__SOURCE__TYPE_VALUES", "CARD=card", "it must be THEIRS=OURS, comma separated"),
        ("FRAUD__SOURCE__TOPIC", "a b", "it must be the name of a Kafka topic"),
        ("FRAUD__SOURCE__TOPIC", "payments", "simulator.enabled: True is not allowed"),
        ("FRAUD__KAFKA__PARTITIONS", "two", "'two' is not allowed; it must be a whole number"),
        ("FRAUD__KAFKA__PARTITIONS", "0", "0 is not allowed; it must be a number from 1 to 64"),
        ("FRAUD__SIMULATOR__RATE_PER_S", "nan", "nan is not allowed"),
        ("FRAUD__SIMULATOR__ENABLED", "yes", "'yes' is not allowed; it must be true or false"),
        ("FRAUD__REGISTRY__URL", "localhost", "it must be a URL such as"),
        ("FRAUD__KAFKA__BOOTSTRAP_SERVERS", "localhost", "it must be host:port"),
        ("FRAUD__SCORING__DRIVER_MEMORY", "lots", "it must be a size such as"),
        ("FRAUD__DISPLAY__CURRENCY", " ", "it must be a text that is not empty"),
    ],
)
def test_a_wrong_variable_is_named_with_what_is_allowed(
    variable: str, value: str, expected: str
) -> None:
    assert expected in error_of({variable: value})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "must hold sections"),
        ("kafka: 1", "kafka: missing"),
        ("kaffka: {}", "kaffka: unknown key; did you mean kafka?"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(text)
    assert expected in error_of({}, path)


def test_a_key_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    document = yaml.safe_load(CONFIG.read_text())
    del document["display"]["currency"]
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(document))
    assert error_of({}, path) == "display.currency: missing in config.yml"


def test_a_section_that_a_section_lacks_is_named(tmp_path: Path) -> None:
    document = yaml.safe_load(CONFIG.read_text())
    document["source"]["mapping"] = "identity"
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(document))
    assert error_of({}, path).startswith("source.mapping: missing in config.yml")


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_settings(environment={}).kafka.partitions = 3  # type: ignore[misc]
    assert dataclasses.is_dataclass(Settings)
