"""Weights as they are stored, and files that are not whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ragline.encoder.safetensors import Weights
from ragline.settings import SettingsError
from tests.ragline.encoder import tiny


def weights(folder: Path, **tensors: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Weights:
    tiny.write(folder / "model.safetensors", tensors)
    return Weights(folder)


def test_float32_is_read_where_it_lies(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = weights(tmp_path, a=array).array("a", (2, 3))
    np.testing.assert_array_equal(found, array)
    assert not found.flags.owndata
    assert not found.flags.writeable


def test_float16_is_widened(tmp_path: Path) -> None:
    array = np.array([1.5, -0.25, 65504], np.float16)
    np.testing.assert_array_equal(weights(tmp_path, a=array).array("a"), array.astype(np.float32))


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    # The upper halves of 1.0, -2.0 and 3.140625 as float32.
    array = np.array([0x3F80, 0xC000, 0x4049], np.uint16)
    np.testing.assert_array_equal(weights(tmp_path, a=array).array("a"), [1.0, -2.0, 3.140625])


def test_data_that_is_not_aligned_is_read(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    header += b" " * (3 - len(header) % 4)
    data = np.array([1, 2], np.float32).tobytes()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    found = Weights(tmp_path).array("a")
    assert found.flags.aligned
    np.testing.assert_array_equal(found, [1, 2])


def test_a_prefix_is_found_by_the_end_of_a_name(tmp_path: Path) -> None:
    one = np.ones(1, np.float32)
    found = weights(tmp_path, **{"bert.words": one, "x.bert.words": one, "otherwords": one})
    assert found.find("words") == "bert."
    assert found.find("bert.words") == ""
    assert found.find("letters") is None


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no tensor b;.*sentence_transformer"):
        weights(tmp_path, a=np.ones(1, np.float32)).array("b")


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tensor a .* is \(2, 3\), not 3 x 2"):
        weights(tmp_path, a=np.ones((2, 3), np.float32)).array("a", (3, 2))


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="stored as I64"):
        weights(tmp_path, a=np.ones(1, np.int64)).array("a")


def test_a_folder_with_only_the_old_format_says_how_to_convert(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(SettingsError, match=r"no model.safetensors; convert.*sentence_transformer"):
        Weights(tmp_path)


@pytest.mark.parametrize("cut", [0, 7, 8, 40, 200, 1])
def test_a_file_that_is_cut_is_refused(tmp_path: Path, cut: int) -> None:
    tiny.write(tmp_path / "model.safetensors", {"a": np.ones(64, np.float32), "b": np.ones(4, np.float32)})
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-1] if cut == 1 else whole[:cut])
    with pytest.raises(SettingsError, match="fetch it again"):
        Weights(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"not json",
        b'{"a": 7}',
        b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 99999]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": ["x", "y"]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [2]}}',
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(SettingsError, match="fetch it again"):
        Weights(tmp_path)


def test_an_index_without_its_parts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "part.safetensors"}}')
    with pytest.raises(SettingsError, match="fetch it again"):
        Weights(tmp_path)
