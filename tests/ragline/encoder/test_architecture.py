"""What a config.json may say, and how the rest is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ragline.encoder import Encoder
from ragline.settings import SettingsError
from tests.ragline.encoder import tiny


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "t5"}, "'t5' model.*bert.*sentence_transformer"),
        ({"model_type": None}, "'None' model"),
        ({"hidden_act": "silu"}, "activation 'silu'.*sentence_transformer"),
        ({"position_embedding_type": "relative_key"}, "relative_key positions.*sentence_transformer"),
        ({"is_decoder": True}, "decoder.*sentence_transformer"),
        ({"hidden_size": "many"}, "config.json"),
        ({"hidden_size": 16}, r"word_embeddings.*\(40, 8\), not any x 16"),
        ({"num_attention_heads": 3}, "3 heads"),
        ({"num_hidden_layers": 2}, r"encoder\.layer\.1\."),
    ],
)
def test_a_config_that_cannot_be_followed_is_refused_in_a_sentence(
    tmp_path: Path, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        Encoder.open(tiny.bert(tmp_path, config), threads=1)


@pytest.mark.parametrize("content", ["", "[]", "{", "7", "\udcff"])
def test_a_damaged_config_is_refused(tmp_path: Path, content: str) -> None:
    tiny.bert(tmp_path)
    (tmp_path / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match="fetch it again"):
        Encoder.open(tmp_path, threads=1)


def test_a_folder_without_a_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no model folder"):
        Encoder.open(tmp_path, threads=1)
