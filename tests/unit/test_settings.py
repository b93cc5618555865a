"""The settings loader: every wrong value is named in one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import ConfigError
from pipeline.settings import PROJECT_ROOT, Settings, load_settings
from tests.support.bad_settings import FILES, VALUES, VARIABLES

CONFIG = PROJECT_ROOT / "config.yml"


def error_of(environment: dict[str, str], path: Path = CONFIG) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environment)
    message = str(caught.value)
    assert "\n" not in message
    return message


def short(value: object) -> str:
    """Return the name of a parameter; some are very long."""
    return repr(value)[:60]


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


@pytest.mark.parametrize(("variable", "value", "expected"), VARIABLES, ids=short)
def test_a_wrong_variable_is_named_with_what_is_allowed(
    variable: str, value: str, expected: str
) -> None:
    assert expected in error_of({variable: value})


def test_a_secret_that_is_no_text_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"caf\xe9")
    message = error_of({"FRAUD__CASSANDRA__PASSWORD_FILE": str(tmp_path / "password")})
    assert message.endswith("password' cannot be read")


@pytest.mark.parametrize("twice", ["FRAUD__CASSANDRA__PASSWORD_FILE", "FRAUD__CASSANDRA__Password"])
def test_a_setting_that_is_given_twice_is_named(tmp_path: Path, twice: str) -> None:
    (tmp_path / "password").write_text("one")
    variables = {"FRAUD__CASSANDRA__PASSWORD": "two", twice: str(tmp_path / "password")}
    assert error_of(variables) == f"{twice}: another variable sets cassandra.password too"


@pytest.mark.parametrize(("content", "expected"), FILES, ids=short)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "config.yml"
    path.write_bytes(content)
    assert expected in error_of({}, path)


def test_a_file_that_is_missing_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "config.yml"):
        assert error_of({}, path).startswith(f"{path}: cannot be read")


@pytest.mark.parametrize(("setting", "value", "expected"), VALUES, ids=short)
def test_a_wrong_value_in_the_file_is_named(
    tmp_path: Path, setting: str, value: Any, expected: str
) -> None:
    document = yaml.safe_load(CONFIG.read_text())
    *sections, key = setting.split(".")
    section = document
    for name in sections:
        section = section[name]
    section[key] = value
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(document))
    message = error_of({}, path)
    assert message.startswith(setting)
    assert expected in message


def test_a_key_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    document = yaml.safe_load(CONFIG.read_text())
    del document["display"]["currency"]
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(document))
    assert error_of({}, path) == "display.currency: missing in config.yml"


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_settings(environment={}).kafka.partitions = 3  # type: ignore[misc]
    assert dataclasses.is_dataclass(Settings)
