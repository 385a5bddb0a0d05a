"""How the collections in Milvus are laid out: their columns, what is indexed, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymilvus import DataType, Function, FunctionType, MilvusClient

from services.retriever.stores._milvus_facts import MAX_FACTS
from services.retriever.stores._milvus_rows import MAX_TEXT

KEY_LENGTH = 32  # bytes, of what ``hashed`` gives
HNSW = "HNSW"


@dataclass(frozen=True)
class Layout:
    """One collection's: columns by the tokenizer, and indexes with whether nothing can be searched without."""

    columns: Callable[[Any, str], None]
    indexes: Sequence[tuple[Any, bool]]

    def schema(self, tokenizer: str) -> Any:
        """As pymilvus has it."""
        made = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        self.columns(made, tokenizer)
        return made


def documents() -> Layout:
    """Of documents' rows."""
    keys = [scalar(name) for name in ("name_key", "container_key", "uri_key")]
    return Layout(document_columns, [unused(), *keys])


def sources() -> Layout:
    """Of documents' texts."""
    return Layout(source_columns, [unused()])


def passages(dimensions: int, kind: str, build: Mapping[str, Any]) -> Layout:
    """Of passages with vectors of that length, in an index of this kind."""
    near = vectors("vector", kind, "IP", build if kind == HNSW else {})
    words = vectors("sparse", "SPARSE_INVERTED_INDEX", "BM25", {})
    return Layout(passage_columns(dimensions), [near, words, scalar("name_key"), scalar("facts")])


def vectors(column: str, kind: str, metric: str, params: Mapping[str, Any]) -> tuple[Any, bool]:
    """An index for searching."""
    one = MilvusClient.prepare_index_params()
    one.add_index(column, index_type=kind, index_name=column, metric_type=metric, params=dict(params))
    return one, True


def scalar(column: str) -> tuple[Any, bool]:
    """An index that makes conditions faster."""
    one = MilvusClient.prepare_index_params()
    one.add_index(column, index_type="INVERTED", index_name=column)
    return one, False


def unused() -> tuple[Any, bool]:
    """Milvus loads no collection without an index of vectors."""
    return vectors("unused", "FLAT", "L2", {})


def document_columns(schema: Any, _: str) -> None:
    """The columns of documents' rows."""
    common(schema)
    for name, length in (("name_key", 32), ("container_key", 32), ("uri_key", 32), ("head", MAX_TEXT)):
        schema.add_field(name, DataType.VARCHAR, max_length=length)
    for name in ("first", "passages", "dimensions", "generation", "seq", "source_first", "source_pieces"):
        schema.add_field(name, DataType.INT64)
    for name in ("stamp", "stamp_passages", "stamp_at"):
        schema.add_field(name, DataType.INT64)
    with_facts(schema)
    schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)  # Milvus has no collection without a vector


def source_columns(schema: Any, _: str) -> None:
    """The columns of documents' texts."""
    common(schema)
    schema.add_field("piece", DataType.VARCHAR, max_length=MAX_TEXT)
    schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)


def passage_columns(dimensions: int) -> Callable[[Any, str], None]:
    """The columns of passages with vectors of that length."""

    def add(schema: Any, tokenizer: str) -> None:
        common(schema)
        schema.add_field("name_key", DataType.VARCHAR, max_length=32)
        schema.add_field(
            "terms",
            DataType.VARCHAR,
            max_length=MAX_TEXT,
            enable_analyzer=True,
            enable_match=True,
            analyzer_params={"tokenizer": tokenizer},
        )
        for name in ("body", "tokens"):
            schema.add_field(name, DataType.VARCHAR, max_length=MAX_TEXT)
        with_facts(schema)
        schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimensions)
        schema.add_function(Function("bm25", FunctionType.BM25, ["terms"], ["sparse"]))

    return add


def common(schema: Any) -> None:
    """The columns that all rows have."""
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("place", DataType.VARCHAR, max_length=32, is_partition_key=True)


def with_facts(schema: Any) -> None:
    """The column that filters ask."""
    kind = {"element_type": DataType.VARCHAR, "max_capacity": MAX_FACTS, "max_length": 32}
    schema.add_field("facts", DataType.ARRAY, **kind)
