"""The options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

Collection = Annotated[str, typer.Option("--collection", "-c", help="The collection of documents.")]
TopK = Annotated[int, typer.Option("--top-k", "-k", min=1, max=100, help="How many passages.")]
Scorer = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="Orders the passages: one that the reranker has loaded; else the one that serves."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON for machines.")]
