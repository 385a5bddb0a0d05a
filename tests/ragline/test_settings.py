import os
from pathlib import Path

import pytest
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from ragline import settings
from ragline.settings import SettingsError, load


class Lamp(settings.Settings):
    model_config = SettingsConfigDict(env_prefix="LAMP_")

    watts: int = Field(40, ge=1)
    key: SecretStr = SecretStr("")


class Locked(settings.Settings):
    model_config = SettingsConfigDict(env_prefix="LOCKED_")

    code: int
    pin: SecretStr = Field(SecretStr("0000"), max_length=4)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults_hold_without_any_variable() -> None:
    assert load(Lamp).watts == 40


def test_own_variables_win_over_shared_ones_and_code_over_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGLINE_LOG_LEVEL", "error")
    assert load(Lamp).log_level == "error"
    monkeypatch.setenv("LAMP_LOG_LEVEL", "debug")
    assert load(Lamp).log_level == "debug"
    assert load(Lamp, log_level="info").log_level == "info"


def test_the_shared_prefix_reaches_shared_fields_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGLINE_WATTS", "60")
    assert load(Lamp).watts == 40


def test_the_env_file_is_read_and_the_environment_wins(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAMP_WATTS", raising=False)
    monkeypatch.setenv("LAMP_LOG_LEVEL", "error")
    monkeypatch.setattr("os.environ", dict(os.environ))
    (empty_folder / ".env").write_text("LAMP_WATTS=25\nLAMP_LOG_LEVEL=debug\n")
    loaded = load(Lamp)
    assert (loaded.watts, loaded.log_level) == (25, "error")


def test_a_misspelt_name_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMP_WATS", "60")
    with pytest.raises(SettingsError, match=r"LAMP_WATS is no setting; did you mean LAMP_WATTS\?"):
        load(Lamp)


def test_a_name_like_no_other_gets_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMP_ZZZZZZZZZ", "60")
    with pytest.raises(SettingsError, match=r"known are LAMP_\w+, "):
        load(Lamp)


@pytest.mark.parametrize(
    ("name", "value"), [("LAMP_WATTS", "zero"), ("LAMP_WATTS", "0"), ("RAGLINE_LOG_LEVEL", "x")]
)
def test_a_bad_value_stops_the_start_and_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}='{value}' is no good: "):
        load(Lamp)


def test_a_missing_value_is_named() -> None:
    with pytest.raises(SettingsError, match=r"LOCKED_CODE is not set\."):
        load(Locked)


def test_a_bad_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKED_CODE", "1")
    monkeypatch.setenv("LOCKED_PIN", "hunter2")
    with pytest.raises(SettingsError, match="LOCKED_PIN is no good") as caught:
        load(Locked)
    assert "hunter2" not in str(caught.value)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(load(Lamp), "watts", 1)  # noqa: B010 - the type checker refuses the plain way


def test_the_base_class_refuses_nothing() -> None:
    assert load(settings.Settings).max_body_mb == 64


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("RAGLINE_DATA_DIR", "~/documents")
    monkeypatch.delenv("RAGLINE_MODELS_DIR", raising=False)
    found = load(settings.Settings)
    assert found.data_dir == Path("/home/somebody/documents")
    assert found.models_dir == Path("/home/somebody/.cache/ragline/models")


def test_a_data_dir_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "a" / "b"
    load(Lamp, data_dir=made).make_data_dir()
    assert made.is_dir()
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAGLINE_DATA_DIR", str(tmp_path / "file" / "c"))
    with pytest.raises(SettingsError, match=r"RAGLINE_DATA_DIR=.*file/c' is no good: Not a directory"):
        load(Lamp).make_data_dir()


@pytest.mark.parametrize("bits", ["1", "2", "4", "8"])
def test_token_vectors_have_bits_that_fill_bytes(monkeypatch: pytest.MonkeyPatch, bits: str) -> None:
    monkeypatch.setenv("RAGLINE_TOKEN_BITS", bits)
    monkeypatch.setenv("RAGLINE_TOKEN_DIMENSIONS", "192")
    assert (load(Lamp).token_bits, load(Lamp).token_dimensions) == (int(bits), 192)


def test_other_bits_of_token_vectors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGLINE_TOKEN_BITS", "3")
    with pytest.raises(SettingsError, match="RAGLINE_TOKEN_BITS='3' is no good: it must be 1, 2, 4 or 8"):
        load(Lamp)
