"""What the settings refuse, and where the key comes from."""

from pathlib import Path

import pytest

from ragline import settings
from ragline.errors import Unavailable
from ragline.settings import SettingsError
from services.generator.__main__ import build
from services.generator.lineup import key
from services.generator.settings import Settings


def test_the_key_comes_from_its_setting_or_its_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-a-file\n")
    assert key(Settings()) is None
    for made, value in (
        (Settings(llm_api_key="given"), "given"),
        (Settings(llm_api_key_file=file), "from-a-file"),
    ):
        found = key(made)
        assert found is not None
        assert found.get_secret_value() == value
        assert value not in repr(made)
    with pytest.raises(SettingsError, match="GENERATOR_LLM_API_KEY_FILE"):
        key(Settings(llm_api_key_file=tmp_path / "missing"))


def test_two_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not both"):
        key(Settings(llm_api_key="given", llm_api_key_file=tmp_path / "key"))


@pytest.mark.parametrize(
    "values",
    [
        {"llm": "nowhere"},
        {"llm": "extractive", "llm_options": {"colour": 1}},
        {"llm": "extractive", "llm_options": {"sentences": 0}},
        {"llm": "openai"},
    ],
)
async def test_a_bad_llm_stops_the_start(values: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        await build(settings.load(Settings, **values))


async def test_builds_without_models_or_network(tmp_path: Path) -> None:
    service = await build(Settings(llm="extractive", data_dir=tmp_path, reranker_address="", cache_url=""))
    assert service.name == "generator"
    await service.start()
    await service.checks["llm"]()
    with pytest.raises(Unavailable):
        await service.checks["retriever"]()
    await service.stop()
