import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragline.backends import load, names
from ragline.settings import SettingsError

OIL = """
def load(parts, *, wicks: int = 1, colour: str = "amber"):
    return (parts, wicks, colour)
"""
GAS = "import a_module_that_nobody_has\n"
OWN = """
class Torch:
    def __init__(self, parts, *, batteries: int):
        self.parts, self.batteries = parts, batteries
"""


@pytest.fixture
def lamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    folder = tmp_path / "shop" / "lamps"
    folder.mkdir(parents=True)
    for name, text in {"__init__": "", "oil": OIL, "gas": GAS, "_glass": "raise RuntimeError"}.items():
        (folder / f"{name}.py").write_text(text)
    (folder.parent / "__init__.py").write_text("")
    (tmp_path / "torches.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield "shop.lamps"
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_file_is_a_back_end_and_private_files_are_not(lamps: str) -> None:
    assert names(lamps) == ["gas", "oil"]


def test_only_the_chosen_one_is_imported(lamps: str) -> None:
    assert load(lamps, "oil", "parts") == ("parts", 1, "amber")
    assert "shop.lamps.gas" not in sys.modules


def test_options_become_the_types_that_the_back_end_states(lamps: str) -> None:
    assert load(lamps, "oil", "parts", {"wicks": "3"}) == ("parts", 3, "amber")


def test_an_unknown_name_lists_the_known(lamps: str) -> None:
    with pytest.raises(
        SettingsError, match="'neon' is none of the lamps: gas, oil, or a module:Class of your own"
    ):
        load(lamps, "neon", None)


def test_an_unknown_option_lists_the_known(lamps: str) -> None:
    with pytest.raises(SettingsError, match="oil has no option 'wick'; it has wicks, colour"):
        load(lamps, "oil", None, {"wick": 3})


def test_a_bad_option_is_named(lamps: str) -> None:
    with pytest.raises(SettingsError, match="option 'wicks' of oil is no good"):
        load(lamps, "oil", None, {"wicks": "many"})


def test_a_missing_dependency_is_named(lamps: str) -> None:
    with pytest.raises(SettingsError, match="gas needs a_module_that_nobody_has, which is not installed here"):
        load(lamps, "gas", None)


def test_a_class_of_ones_own(lamps: str) -> None:
    torch = load(lamps, "torches:Torch", "parts", {"batteries": 2})
    assert (torch.parts, torch.batteries) == ("parts", 2)
    with pytest.raises(SettingsError, match="torches has no Candle"):
        load(lamps, "torches:Candle", None)
    with pytest.raises(SettingsError, match="needs candles"):
        load(lamps, "candles:Candle", None)
    with pytest.raises(SettingsError, match="'batteries' of torches:Torch"):
        load(lamps, "torches:Torch", None)
