"""What may be in POST /documents, and how each fault is named."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pytest
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import FormData, Headers, UploadFile

from ragline.errors import InvalidRequest, RaglineError, TooLarge
from services.preprocess.bodies import BodyLimits, file_id, from_form, from_json, text_id

LIMITS = BodyLimits(max_documents=3, max_document_mb=1)


def body(*documents: dict[str, Any], **fields: Any) -> bytes:
    return orjson.dumps({"documents": list(documents), **fields})


def form(*files: tuple[str, bytes], **fields: str | list[str]) -> FormData:
    items: list[tuple[str, Any]] = [("files", upload(name, data)) for name, data in files]
    for name, value in fields.items():
        items += [(name, each) for each in ([value] if isinstance(value, str) else value)]
    return FormData(items)


def upload(name: str, data: bytes) -> UploadFile:
    return UploadFile(io.BytesIO(data), filename=name, size=len(data), headers=Headers({"content-type": "x/y"}))


def test_a_text_comes_in_with_all_that_was_said_about_it() -> None:
    collection, uploads = from_json(
        body(
            {"id": "a/b c", "title": "A\nB", "text": "Grüße", "metadata": {"n": 1, "t": ["x"], "b": None}},
            collection="team.docs",
        ),
        LIMITS,
    )
    document = uploads[0].document
    assert (collection, document.id, document.title) == ("team.docs", "a/b c", "A B")
    assert orjson.loads(document.metadata_json) == {"n": 1, "t": ["x"], "b": None}
    assert uploads[0].source is not None
    assert uploads[0].source.read().decode() == "Grüße"


def test_a_text_without_an_id_gets_the_same_one_each_time() -> None:
    _, uploads = from_json(body({"text": "one"}, {"text": "two"}), LIMITS)
    assert [each.document.id for each in uploads] == [text_id(b"one"), text_id(b"two")]
    assert text_id(b"one").startswith("doc-")
    assert len(text_id(b"one")) == 20


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"{", "body"),
        (b"", "body"),
        (b'{"documents": [{"text": "\\ud800"}]}', "body"),
        (body(), ("documents",)),
        (b"[]", ()),
        (orjson.dumps({"documents": "x"}), ("documents",)),
        (body({"text": 1}), ("documents", 0, "text")),
        (body({"id": 1, "text": "x"}), ("documents", 0, "id")),
        (body({"id": "", "text": "x"}), ("documents", 0, "id")),
        (body({"id": "  ", "text": "x"}), ("documents", 0, "id")),
        (body({"id": "a\x00b", "text": "x"}), ("documents", 0, "id")),
        (body({"id": "a\n", "text": "x"}), ("documents", 0, "id")),
        (body({"id": "a" * 513, "text": "x"}), ("documents", 0, "id")),
        (body({"text": "x"}, {"text": "y", "body": "z"}), ("documents", 1, "body")),
        (body({"id": "a"}), ("documents", 0, "text")),
        (body({"text": "x", "title": ["t"]}), ("documents", 0, "title")),
        (body({"text": "x", "title": "t" * 1001}), ("documents", 0, "title")),
        (body({"text": "x", "metadata": []}), ("documents", 0, "metadata")),
        (body({"text": "x", "metadata": {"a": {"b": 1}}}), ("documents", 0, "metadata")),
        (body({"text": "x", "metadata": {"a": [1]}}), ("documents", 0, "metadata")),
        (body({"text": "x", "metadata": {"a": "y" * 17_000}}), ("documents", 0, "metadata")),
        (body({"text": "x"}, collection="../x"), ("collection",)),
        (body({"text": "x"}, collection=None), ("collection",)),
        (body({"text": "x"}, extra=1), ("extra",)),
        (body({"text": ""}), "documents[0].text"),
        (body({"text": " \n\t"}), "documents[0].text"),
    ],
)
def test_a_bad_body_names_the_field(data: bytes, field: str | tuple[str | int, ...]) -> None:
    with pytest.raises((RequestValidationError, InvalidRequest)) as raised:
        from_json(data, LIMITS)
    if isinstance(raised.value, RequestValidationError):
        assert raised.value.errors()[0]["loc"] == ("body", *field)
    elif isinstance(raised.value, InvalidRequest):
        assert raised.value.errors[0]["field"] == field


def test_limits_are_named() -> None:
    with pytest.raises(TooLarge, match="max_documents"):
        from_json(body(*({"text": str(n)} for n in range(4))), LIMITS)
    with pytest.raises(TooLarge, match=r"documents\[1\].text.*PREPROCESS_MAX_DOCUMENT_MB") as raised:
        from_json(body({"text": "x"}, {"text": "é" * 600_000}), LIMITS)
    assert raised.value.errors[0]["field"] == "documents[1].text"
    with pytest.raises(TooLarge, match="max_documents"):
        from_form(form(*((str(n), b"x") for n in range(4))), LIMITS)


def test_two_documents_with_one_id_are_both_named() -> None:
    with pytest.raises(InvalidRequest) as raised:
        from_json(body({"id": "a", "text": "x"}, {"id": "b", "text": "y"}, {"id": "a", "text": "z"}), LIMITS)
    assert [error["field"] for error in raised.value.errors] == ["documents[0].id", "documents[2].id"]
    with pytest.raises(InvalidRequest) as raised:
        from_form(form(("d/a.md", b"x"), ("./d//a.md", b"y")), LIMITS)
    assert [error["field"] for error in raised.value.errors] == ["files[0]", "files[1]"]


def test_files_come_in_under_their_names_with_the_metadata_for_all() -> None:
    collection, uploads = from_form(
        form(("docs/a.md", b"x"), ("b.pdf", b"y"), collection="c", metadata='{"team": "x"}'), LIMITS
    )
    assert collection == "c"
    assert [(each.document.id, each.document.name) for each in uploads] == [
        ("docs/a.md", "a.md"),
        ("b.pdf", "b.pdf"),
    ]
    assert {each.document.metadata_json for each in uploads} == {'{"team":"x"}'}


@pytest.mark.parametrize("ids", [["one", "two"], '["one", "two"]'])
def test_files_can_be_given_ids(ids: str | list[str]) -> None:
    _, uploads = from_form(form(("a.md", b"x"), ("b.md", b"y"), ids=ids), LIMITS)
    assert [each.document.id for each in uploads] == ["one", "two"]


def test_an_empty_file_fails_alone() -> None:
    _, uploads = from_form(form(("a.md", b""), ("b.md", b"y")), LIMITS)
    assert [each.document.reason for each in uploads] == ["The file is empty.", ""]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (form(), "files"),
        (form(files="text"), "files"),
        (form(("a", b"x"), file="x"), "file"),
        (form(("a", b"x"), metadata="{"), "metadata"),
        (form(("a", b"x"), ids=["one", "two"]), "ids"),
        (form(("a", b"x"), collection=["c", "d"]), "collection"),
        (FormData([("files", upload("a", b"x")), ("metadata", upload("m", b"{}"))]), "metadata"),
        (form(("..", b"x")), "files[0]"),
        (form(("", b"x")), "files[0]"),
    ],
)
def test_a_bad_form_names_the_field(given: FormData, field: str) -> None:
    with pytest.raises(RaglineError) as raised:
        from_form(given, LIMITS)
    assert raised.value.errors[0]["field"] == field


def test_bad_form_fields_read_as_bad_json_does() -> None:
    with pytest.raises(RequestValidationError) as raised:
        from_form(form(("a", b"x"), collection="no/slash", metadata='{"a": {}}'), LIMITS)
    assert [error["loc"] for error in raised.value.errors()] == [("body", "collection"), ("body", "metadata")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/etc/passwd", "etc/passwd"),
        ("../../x/./y.md", "x/y.md"),
        ("C:\\docs\\a b.md", "docs/a b.md"),
        ("a\x00\nb.md", "ab.md"),
        ("Ünïcode 文.md", "Ünïcode 文.md"),
    ],
)
def test_a_file_name_becomes_a_relative_id(name: str, expected: str) -> None:
    assert file_id(name, 0) == expected
