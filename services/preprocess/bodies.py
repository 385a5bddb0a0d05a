"""Reads the body of ``POST /documents``, JSON or files, into uploads; what is wrong with it is named."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from ragline.errors import InvalidRequest, RaglineError, TooLarge, Unsupported
from services.preprocess.given import COLLECTION, DOCUMENT_ID, id_fault, metadata_fault
from services.preprocess.intake import Upload
from services.preprocess.jobs import NewDocument

MAX_TITLE_CHARS = 1000
FORM_FIELDS = ("files", "collection", "metadata", "ids")
CONTROL = re.compile(r"[\x00-\x1f]")


@dataclass(frozen=True)
class BodyLimits:
    """What one request may hold."""

    max_documents: int = 1000
    max_document_mb: int = 32


def flat(value: dict[str, Any]) -> dict[str, Any]:
    """Metadata that filters can use; raises ValueError."""
    if fault := metadata_fault(value):
        raise ValueError(fault)
    return value


def printable(value: str) -> str:
    """An id that can be shown and asked for; raises ValueError."""
    if fault := id_fault(value):
        raise ValueError(fault)
    return value


Metadata = Annotated[dict[str, Any], AfterValidator(flat)]
DocumentId = Annotated[StrictStr, Field(pattern=DOCUMENT_ID), AfterValidator(printable)]
Collection = Annotated[StrictStr, Field(pattern=COLLECTION, description="what the documents belong to")]


class TextDocument(BaseModel):
    """A document sent as text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: DocumentId | None = Field(None, description="absent: made from the text")
    title: Annotated[StrictStr, Field(max_length=MAX_TITLE_CHARS)] = ""
    text: StrictStr
    metadata: Metadata = Field(default={}, description="flat: strings, numbers, booleans, lists of strings")


class DocumentsBody(BaseModel):
    """What ``POST /documents`` takes as JSON."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "collection": "default",
                    "documents": [
                        {
                            "id": "handbook/leave",
                            "title": "Leave",
                            "text": "Everybody has 30 days of paid leave a year.",
                            "metadata": {"team": "people", "year": 2025},
                        }
                    ],
                }
            ]
        },
    )

    collection: Collection = "default"
    documents: list[TextDocument] = Field(min_length=1)


class FormBody(BaseModel):
    """The fields beside the files of a form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    collection: Collection = "default"
    metadata: Metadata = {}
    ids: list[DocumentId] = []


@asynccontextmanager
async def read_uploads(request: Request, limits: BodyLimits) -> AsyncIterator[tuple[str, list[Upload]]]:
    """The collection and the documents of a request, whose files are open inside the block.

    Raises a problem that names the field.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        yield from_json(await request.body(), limits)
    elif kind == "multipart/form-data":
        most = limits.max_documents
        async with request.form(max_files=most + 1, max_fields=most + len(FORM_FIELDS)) as form:
            yield from_form(form, limits)
    else:
        raise Unsupported(
            "Send documents as application/json or files as multipart/form-data"
            f" (files=@…), not as {kind[:100] or 'nothing named'}."
        )


def from_json(data: bytes, limits: BodyLimits) -> tuple[str, list[Upload]]:
    """Uploads from a JSON body."""
    body = checked(DocumentsBody, loaded(data, "body"))
    refuse_too_many(len(body.documents), "documents", limits)
    encoded = [document.text.encode() for document in body.documents]
    for n, (document, text) in enumerate(zip(body.documents, encoded, strict=True)):
        if not document.text.strip():
            raise InvalidRequest(
                f"documents[{n}].text is empty; leave the document out.", field=f"documents[{n}].text"
            )
        if len(text) > limits.max_document_mb << 20:
            raise TooLarge(
                f"documents[{n}].text is larger than {limits.max_document_mb} MB (max_document_mb); split it,"
                " or raise PREPROCESS_MAX_DOCUMENT_MB.",
                field=f"documents[{n}].text",
            )
    names = [document.id or text_id(text) for document, text in zip(body.documents, encoded, strict=True)]
    refuse_repeats(names, "documents[{}].id")
    return body.collection, [
        Upload(
            NewDocument(
                name,
                title=CONTROL.sub(" ", document.title).strip(),
                metadata_json=orjson.dumps(document.metadata).decode(),
                media_type="text/plain",
            ),
            io.BytesIO(text),
        )
        for name, document, text in zip(names, body.documents, encoded, strict=True)
    ]


def from_form(form: FormData, limits: BodyLimits) -> tuple[str, list[Upload]]:
    """Uploads from a form with files. A file that is empty fails alone."""
    unknown = sorted(set(form) - set(FORM_FIELDS))
    if unknown:
        raise InvalidRequest(
            f"{unknown[0]!r} is no field here; there are {', '.join(FORM_FIELDS)}.", field=unknown[0]
        )
    given = form.getlist("files")
    files = [file for file in given if isinstance(file, UploadFile)]
    if not files or len(files) < len(given):
        raise InvalidRequest("The form needs files, each with its file name (files=@…).", field="files")
    refuse_too_many(len(files), "files", limits)
    body = checked(FormBody, form_fields(form))
    if body.ids and len(body.ids) != len(files):
        raise InvalidRequest(
            f"There are {len(files)} files and {len(body.ids)} ids; send one a file.", field="ids"
        )
    names = list(body.ids) or [file_id(filename(file), n) for n, file in enumerate(files)]
    refuse_repeats(names, "ids[{}]" if body.ids else "files[{}]")
    metadata_json = orjson.dumps(body.metadata).decode()
    return body.collection, [
        Upload(
            NewDocument(
                name,
                metadata_json=metadata_json,
                name=PurePosixPath((filename(file) or name).replace("\\", "/")).name,
                media_type=(file.content_type or "")[:200],
                reason="" if file.size else "The file is empty.",
            ),
            file.file,
        )
        for name, file in zip(names, files, strict=True)
    ]


def form_fields(form: FormData) -> dict[str, Any]:
    """The text fields of a form, for the model; metadata is JSON, ids are repeated or one JSON list."""
    fields: dict[str, Any] = {}
    for name in ("collection", "metadata", "ids"):
        values = form.getlist(name)
        if any(isinstance(value, UploadFile) for value in values):
            raise InvalidRequest(f"{name} is text, not a file.", field=name)
        if not values:
            continue
        if name != "ids" and len(values) > 1:
            raise InvalidRequest(f"{name} is given {len(values)} times; give it once.", field=name)
        if name == "ids":
            fields[name] = loaded(str(values[0]).encode(), name) if str(values[0]).startswith("[") else values
        else:
            fields[name] = loaded(str(values[0]).encode(), name) if name == "metadata" else values[0]
    return fields


def loaded(data: bytes, field: str) -> Any:
    """The value of some JSON; raises InvalidRequest that says where it breaks."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The {field} is not valid JSON: {error}.", field=field) from None


def checked(model: type[Any], value: Any) -> Any:
    """``value`` as ``model``; raises what the framework raises for its own bodies, so that both read the same."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors(include_context=False)]
        raise RequestValidationError(faults, body=value) from None


def refuse_too_many(count: int, field: str, limits: BodyLimits) -> None:
    """Raise TooLarge over the limit."""
    if count > limits.max_documents:
        raise TooLarge(
            f"{count} documents are more than {limits.max_documents} in one request (max_documents);"
            " send them in several.",
            field=field,
        )


def refuse_repeats(names: Sequence[str], field: str) -> None:
    """Raise InvalidRequest when two documents of a request have one id."""
    first: dict[str, int] = {}
    for n, name in enumerate(names):
        before = first.setdefault(name, n)
        if before != n:
            raise repeated(name, field.format(before), field.format(n))


def repeated(name: str, one: str, other: str) -> RaglineError:
    """The refusal of two documents with one id; names both places."""
    errors: tuple[Mapping[str, str], ...] = tuple(
        {"field": here, "detail": f"same id as {there}"} for here, there in ((one, other), (other, one))
    )
    return InvalidRequest(f"{one} and {other} have the same id {name[:200]!r}; give each its own.", errors=errors)


def text_id(text: bytes) -> str:
    """The id of a text that came without one: the same text again is the same document."""
    return f"doc-{hashlib.sha256(text).hexdigest()[:16]}"


def filename(file: UploadFile) -> str:
    """A file's name as its sender knows it; clients write a quotation mark in it as %22, as HTML tells them to."""
    return (file.filename or "").replace("%22", '"')


def file_id(filename: str, n: int) -> str:
    """A file's name as an id: relative, with slashes, without ``.`` and ``..``."""
    cleaned = CONTROL.sub("", filename).replace("\\", "/")
    parts = [part for part in cleaned.split("/") if part.strip() not in {"", ".", ".."}]
    if parts and re.fullmatch(r"[A-Za-z]:", parts[0]):
        del parts[0]
    name = "/".join(parts)
    if id_fault(name):
        raise InvalidRequest(f"files[{n}] needs a file name of 1 to 512 characters.", field=f"files[{n}]")
    return name
