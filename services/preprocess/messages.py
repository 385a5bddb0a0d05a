"""What travels through the queue: all about one document but its bytes, so that no record is needed to act."""

from __future__ import annotations

from dataclasses import asdict, fields

import orjson

from ragline.broker import NewMessage, Poison
from services.preprocess.jobs import Head, NewDocument, Work

QUEUE = "ingest"


def packed(work: Work, request_id: str) -> NewMessage:
    """The message for one document of a job; the bounds of ids, titles and metadata keep it below 64 KB."""
    body = {**asdict(work.job), "n": work.n, "seq": work.seq, "request_id": request_id}
    if work.target:
        body["target"] = work.target
    said = {name: value for name, value in asdict(work.document).items() if value}
    body["document"] = {"id": work.document.id, **said}
    key = f"{work.job.tenant}/{work.job.collection}/{work.document.id}"
    return NewMessage(orjson.dumps(body), key=key)


def unpacked(body: bytes) -> tuple[Work, str]:
    """The document and the request id of a message; raises Poison for what is none of ours."""
    try:
        message = orjson.loads(body)
        head = Head(**{field.name: message[field.name] for field in fields(Head)})
        document = NewDocument(**message["document"])
        work = Work(head, int(message["n"]), int(message["seq"]), document, target=str(message.get("target", "")))
        return work, str(message.get("request_id", ""))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Poison(
            f"The message is none that this version can read ({type(error).__name__}); send the document again."
        ) from error
