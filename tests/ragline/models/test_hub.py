"""Models by hub id: the hub's own library against a hub on this machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragline.models import ModelStore
from ragline.models.hub import parse
from ragline.settings import SettingsError
from tests.ragline.models.hub_server import COMMIT, Hub, serve

FILES = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": b"weights" * 100,
    "pytorch_model.bin": b"runs code when opened",
    "tokenizer/vocab.txt": b"a\nb\n",
    "README.md": b"# tiny",
}
WANTED = ["config.json", "model.safetensors", "tokenizer/vocab.txt"]
OFFLINE = """
import sys
from pathlib import Path
from ragline.models import ModelStore
from ragline.settings import SettingsError

store = ModelStore(Path(sys.argv[1]), hub_endpoint=sys.argv[2])
try:
    print(store.resolve("org/tiny"))
except SettingsError as error:
    print(error)
"""


@pytest.fixture
def server() -> Iterator[Hub]:
    with serve("org/tiny", FILES) as hub:
        yield hub


@pytest.fixture
def store(server: Hub, tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", hub_endpoint=server.url)


def contents(folder: Path) -> list[str]:
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in found if path != ".verified.json")


def test_a_hub_id_is_fetched_once_and_then_needs_no_network(server: Hub, store: ModelStore) -> None:
    folder = store.resolve("org/tiny")
    assert contents(folder) == WANTED
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert not any("pytorch_model" in request for request in server.requests)
    server.requests.clear()
    assert store.resolve("org/tiny") == store.pull("org/tiny") == store.path("org/tiny") == folder
    assert server.requests == []
    assert store.verify("org/tiny") == []
    assert [(row.id, row.state) for row in store.list() if row.kind == "hub"] == [("org/tiny@main", "present")]


def test_a_revision_has_its_own_folder(store: ModelStore) -> None:
    assert store.resolve(f"org/tiny@{COMMIT}") != store.resolve("org/tiny")


def test_an_altered_file_is_refused_and_not_silently_fetched_again(store: ModelStore) -> None:
    folder = store.resolve("org/tiny")
    (folder / "config.json").write_bytes(b"{}")
    with pytest.raises(SettingsError, match=r"config\.json has sha256 .*ragline models pull org/tiny"):
        store.resolve("org/tiny")
    assert store.pull("org/tiny") == folder == store.resolve("org/tiny")
    assert (folder / "config.json").read_bytes() == FILES["config.json"]


@pytest.mark.parametrize("name", ["org/none", "org/tiny@none"])
def test_what_the_hub_does_not_have_is_one_sentence(store: ModelStore, name: str) -> None:
    with pytest.raises(SettingsError, match=f"the hub has no {name}"):
        store.resolve(name)


def test_weights_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with serve("org/old", {"config.json": b"{}", "pytorch_model.bin": b"x"}) as hub:
        store = ModelStore(tmp_path, hub_endpoint=hub.url)
        with pytest.raises(SettingsError, match=r"no \.safetensors weights"):
            store.resolve("org/old")


def test_a_hub_that_cannot_be_reached_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be had from the hub.*give the folder's path"):
        ModelStore(tmp_path, hub_endpoint="http://127.0.0.1:9").resolve("org/tiny")


def test_offline_is_respected(server: Hub, tmp_path: Path) -> None:
    command = [sys.executable, "-c", OFFLINE, str(tmp_path), server.url]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert "HF_HUB_OFFLINE forbids" in said
    assert server.requests == []


def test_only_hub_ids_are_taken_for_hub_ids() -> None:
    assert str(parse("org/name")) == "org/name"
    assert str(parse("org/name@v1.0")) == "org/name@v1.0"
    assert str(parse("org/name@refs/pr/1")) == "org/name@refs/pr/1"
    assert [
        parse(text) for text in ("name", "../name", "org/../x", "a/b/c", "/a/b", "org/name@", "org/ name")
    ] == [None] * 7
    repository = parse("org/name@refs/pr/1")
    assert repository is not None
    assert repository.folder(Path("root")) == Path("root/hub/org/name@refs%2Fpr%2F1")
