from pathlib import Path

import pytest

from services.reranker.memory import room, weights_bytes

MB = 1 << 20


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A machine with 100 MB to give."""
    (tmp_path / "meminfo").write_text("MemTotal: 999999 kB\nMemAvailable: 102400 kB\n")
    (tmp_path / "own").write_text("0::/pod\n")
    (tmp_path / "pod").mkdir()
    return tmp_path


def left(folder: Path) -> int | None:
    return room(folder, folder / "own", folder / "meminfo")


def write(folder: Path, **files: object) -> None:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_without_limits_it_is_the_machines(system: Path) -> None:
    write(system / "pod", memory__max="max", memory__current=MB)
    assert left(system) == 100 * MB


def test_the_least_of_all_groups_counts(system: Path) -> None:
    write(system, memory__max=50 * MB, memory__current=10 * MB)
    assert left(system) == 40 * MB
    write(system / "pod", memory__max=30 * MB, memory__current=20 * MB)
    assert left(system) == 10 * MB
    (system / "pod" / "memory.stat").write_text(f"anon 5\ninactive_file {4 * MB}\n")
    assert left(system) == 14 * MB
    write(system / "pod", memory__current=99 * MB)
    assert left(system) == 0


def test_version_1(system: Path) -> None:
    (system / "own").write_text("4:memory:/pod\n")
    group = system / "memory" / "pod"
    group.mkdir(parents=True)
    write(group, memory__limit_in_bytes=30 * MB, memory__usage_in_bytes=20 * MB)
    assert left(system) == 10 * MB
    write(group, memory__limit_in_bytes=2**63 - 4096)
    assert left(system) == 100 * MB


def test_nothing_says(tmp_path: Path) -> None:
    assert left(tmp_path) is None


def test_of_several_formats_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    for name, size in (("a.safetensors", 5), ("b.safetensors", 6), ("c.bin", 9), ("tokenizer.json", 99)):
        (tmp_path / name).write_bytes(b"x" * size)
    assert weights_bytes(tmp_path) == 11
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"x" * 8)
    (tmp_path / "onnx" / "model.onnx_data").write_bytes(b"x" * 8)
    assert weights_bytes(tmp_path) == 16
    assert weights_bytes(tmp_path / "none") == 0
