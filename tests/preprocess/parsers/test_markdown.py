"""Markdown's structure is found, and its text stays as it is."""

import pytest

from services.preprocess.parsers import Parts
from services.preprocess.parsers.markdown import load, read_markdown

SOURCE = """\
---
title: "Leave policy"
owner: People team
tags: [a, b]
---
# Annual *leave*

Text with `code`.

Carry over
----------

```sh
# no heading
```

| a  | b |
|----|---|
| 1  | 2 |

<!-- a note to editors -->

## A [link](https://example.org) and `code` {#anchor} ##

- item
---
> # quoted
"""


def test_structure() -> None:
    found = read_markdown(SOURCE)
    assert found.text == SOURCE
    assert found.title == "Leave policy"
    assert found.metadata == {"owner": "People team"}
    assert [(heading.level, heading.text) for heading in found.headings] == [
        (1, "Annual leave"),
        (2, "Carry over"),
        (2, "A link and code"),
    ]
    for heading in found.headings:
        line = SOURCE[heading.start :].partition("\n")[0]
        assert heading.text.split()[0] in line
    skipped = [SOURCE[start:end] for start, end in found.skip]
    assert skipped[0].endswith("---\n")
    assert "<!-- a note to editors -->" in skipped
    kept = [SOURCE[start:end] for start, end in found.keep]
    assert any("# no heading" in span for span in kept)
    assert any("| 1  | 2 |" in span for span in kept)


def test_the_first_heading_is_the_title_without_front_matter() -> None:
    assert read_markdown("Intro.\n\n# One\n\n# Two\n").title == "One"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end: str) -> None:
    text = f"# One{end}{end}text{end}{end}## Two{end}"
    found = read_markdown(text)
    assert found.text == text
    assert [text[heading.start : heading.start + 3] for heading in found.headings] == ["# O", "## "]


@pytest.mark.parametrize(
    "text",
    ["- a\n---\n", "| a | b |\n---\n", "1. one\n===\n", "text\nmore\n---\n", "#\n", "#hash\n", "    # code\n"],
)
def test_what_is_no_heading(text: str) -> None:
    assert read_markdown(text).headings == ()


def test_names_with_underscores_stay() -> None:
    assert read_markdown("# The snake_case_name of 2*3*4\n").headings[0].text == "The snake_case_name of 2*3*4"


def test_parse_decodes() -> None:
    [found] = load(Parts()).parse("\ufeff# Größe\n".encode(), "x.md")
    assert found.text == "# Größe\n"
    assert found.media_type == "text/markdown"
