import pytest

from ragline.settings import SettingsError, load
from services.reranker.settings import Choice, Settings


def test_extra_scorers_may_be_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKER_EXTRA_SCORERS", '["overlap"]')
    assert load(Settings).extra_scorers == {"overlap": Choice(scorer="overlap")}


def test_extra_scorers_may_have_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKER_EXTRA_SCORERS", '{"bare": {"scorer": "overlap", "options": {"phrases": 0}}}')
    assert load(Settings).extra_scorers == {"bare": Choice(scorer="overlap", options={"phrases": 0})}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RERANKER_EXTRA_SCORERS", '{"bare": {"scoer": "overlap"}}'),
        ("RERANKER_EXTRA_SCORERS", "[1]"),
        ("RERANKER_MAX_PASSAGES", "0"),
        ("RERANKER_PORT", "70000"),
        ("RERANKER_SCORER", ""),
        ("RERANKER_SCORRER", "overlap"),
    ],
)
def test_bad_values_stop_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load(Settings)
