"""URLs that choose where state is kept."""

from pathlib import Path

import pytest

from ragline.settings import SettingsError
from ragline.urls import parse


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///var/lib/a.db", "/var/lib/a.db"),
        ("sqlite://folder/a.db", "folder/a.db"),
        ("sqlite://a.db", "a.db"),
        ("sqlite://./Data/a.db", "Data/a.db"),
        ("sqlite:///with%20space/%C3%A9.db?max_mb=1", "/with space/é.db"),
    ],
)
def test_a_url_names_a_file(url: str, file: str) -> None:
    assert parse(url, ("sqlite",)).file() == Path(file)


def test_options_are_taken_apart() -> None:
    location = parse("memory://?max_mb=3&name=", ("memory",))
    assert (location.scheme, location.path, location.options) == ("memory", "", {"max_mb": "3", "name": ""})


def test_an_unknown_scheme_is_told_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="memory://, sqlite://"):
        parse("redis://x", ("memory", "sqlite"))


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="twice"):
        parse("memory://?max_mb=3&max_mb=4", ("memory",))


@pytest.mark.parametrize(("url", "sentence"), [("sqlite://[docs/a.db", "%5B"), ("sqlite://a#1.db", "%23")])
def test_a_character_that_means_something_in_a_url_is_not_silently_lost(url: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        parse(url, ("sqlite",))
