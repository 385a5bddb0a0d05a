"""Tells a page's content from its navigation, banners and footers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Element = Any  # lxml has no types

# What holds no text for a reader.
_NO_TEXT = """
    script style noscript template svg iframe object embed canvas audio video map area button select input textarea
    link meta head dialog datalist progress frame frameset applet rp rt
"""
NO_TEXT = frozenset(_NO_TEXT.split())
CONTENT = frozenset({"main", "article"})
_AROUND = frozenset({"nav", "aside", "footer", "header"})
_ROLES = frozenset(
    {"navigation", "banner", "contentinfo", "complementary", "search", "dialog", "alertdialog", "menu"}
)
_NAMES = re.compile(
    r"(?:^|[\s_-])(?:cookies?|consent|gdpr|breadcrumbs?|sidebar|navbar|navigation|nav|navbox|menu|toc|footer|share|"
    r"sharing|social|newsletter|subscribe|advert|advertisement|ads|promo|skip-?link|skip|pagination|pager|popup|modal|"
    r"sr-only|visually-hidden|screen-reader-text|headerlink|anchor-link|editsection|edit-?link|noprint|mw-jump-link|"
    r"related(?:-?(?:posts|articles|links))?)(?:$|[\s_-])",
    re.IGNORECASE,
)
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
# A part that holds more of the page than this is content, whatever its name says.
_MAX_SHARE = 0.4
_MIN_MAIN_CHARS = 200
_MIN_MAIN_SHARE = 0.2


def drop_hidden(root: Element) -> None:
    """Takes out what no reader sees."""
    _drop(root, [element for element in root.iter() if element.tag in NO_TEXT or _is_hidden(element)])


def drop_boilerplate(root: Element) -> None:
    """Takes out what stands around the content, by its tag, role or name, unless it is most of the page."""
    sizes = _sizes(root)
    most = max(1.0, _MAX_SHARE * sizes[root])
    unwanted = [element for element, inside in _walk(root) if _is_around(element, inside)]
    _drop(root, [element for element in unwanted if sizes[element] <= most and not _holds_content(element)])


def main_part(root: Element) -> Element:
    """The element that holds the content: the only <main> or <article>, if that has enough text, else the body."""
    body = root.find(".//body")
    whole = root if body is None else body
    sizes = _sizes(whole)
    for path in (".//main", ".//*[@role='main']", ".//article"):
        found = whole.findall(path)
        if len(found) == 1 and sizes[found[0]] >= max(_MIN_MAIN_CHARS, _MIN_MAIN_SHARE * sizes[whole]):
            return found[0]
    return whole


def _is_hidden(element: Element) -> bool:
    attributes = element.attrib
    if not attributes or element.tag in {"html", "body"}:
        return False
    return (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or ("style" in attributes and _HIDDEN.search(attributes["style"]) is not None)
    )


def _is_around(element: Element, inside: bool) -> bool:
    """``inside`` says that the element stands in a <main> or an <article>, where headers and notes are content."""
    tag = element.tag
    if tag == "nav" or (tag in _AROUND and not inside):
        return True
    if tag in {"html", "body", "main", "article", "pre", "code"} or not element.attrib:
        return False
    if element.get("role") in _ROLES and not (inside and element.get("role") == "complementary"):
        return True
    names = f"{element.get('class', '')} {element.get('id', '')}"
    return len(names) > 1 and _NAMES.search(names) is not None


def _holds_content(element: Element) -> bool:
    return next(element.iter("main", "article"), None) is not None


def _walk(root: Element) -> Iterator[tuple[Element, bool]]:
    """Every element, and whether it stands in a <main> or an <article>. Not recursive: a page may nest deeply."""
    stack = [(root, False)]
    while stack:
        element, inside = stack.pop()
        yield element, inside
        within = inside or element.tag in CONTENT
        stack.extend((child, within) for child in element)


def _sizes(root: Element) -> dict[Element, int]:
    """How many characters of text each element holds, blanks left out."""
    order = [element for element, _ in _walk(root)]
    sizes: dict[Element, int] = {}
    for element in reversed(order):  # children before their parents
        own = len("".join((element.text or "").split()))
        sizes[element] = own + sum(sizes[child] + len("".join((child.tail or "").split())) for child in element)
    return sizes


def _drop(root: Element, elements: list[Element]) -> None:
    for element in elements:
        if element is not root and element.getparent() is not None:
            element.drop_tree()
