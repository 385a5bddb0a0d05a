"""Of a page the content is read, and what stands around it is not."""

import pytest

from ragline.errors import InvalidRequest, TooLarge
from services.preprocess.parsers import Parsed, Parts
from services.preprocess.parsers.html import load

PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><title>Refund policy | Acme</title><style>p {}</style><script>track("x < y")</script></head>
<body class="has-sidebar">
<header><a href="/">Acme</a><nav><ul><li><a href="/">Home</a><li><a href="/shop">Shop</a></ul></nav></header>
<div id="cookie-banner">We use cookies</div>
<div class="breadcrumbs">Home / Help</div>
<main>
  <h1>Refund policy<a class="headerlink" href="#x">¶</a></h1>
  <p>Items may be <b>returned</b> within&nbsp;30
     days.<br>Keep the receipt.</p>
  <ul><li>One <ul><li>nested</li></ul></li><li><p>Two</p></li></ul>
  <ol start="3"><li>three</ol>
  <table><tr><th>Item<th>Days</tr><tr><td>Book</td><td>30<br>days</td></tr></table>
  <h2>Code</h2>
  <pre>def f():
    return  1
</pre>
  <aside>Note: keep this.</aside>
  <p hidden>not shown</p><p style="display: none">nor this</p><noscript>no script</noscript>
</main>
<aside>Buy now</aside>
<footer>© Acme <p>Imprint</p></footer>
</body></html>
"""

EXPECTED = """\
Refund policy

Items may be returned within 30 days.
Keep the receipt.

- One
  - nested
- Two

3. three

| Item | Days |
| Book | 30 days |

Code

def f():
    return  1

Note: keep this."""


def parse(page: str | bytes, limit: int = 1_000_000) -> Parsed:
    data = page if isinstance(page, bytes) else page.encode()
    [found] = load(Parts(limit)).parse(data, "x.html")
    return found


def test_a_page() -> None:
    found = parse(PAGE)
    assert found.text == EXPECTED
    assert found.title == "Refund policy"
    assert found.metadata == {"language": "en"}
    assert [(h.level, h.text, found.text[h.start : h.start + 4]) for h in found.headings] == [
        (1, "Refund policy", "Refu"),
        (2, "Code", "Code"),
    ]
    assert [found.text[start:end] for start, end in found.keep] == ["def f():\n    return  1"]


def test_a_page_that_is_all_around_and_no_content_is_still_read() -> None:
    page = "<html><body><div class='sidebar'><p>" + "All the text is here. " * 20 + "</p></div></body></html>"
    assert "All the text" in parse(page).text
    assert parse("<html><body><nav><p>Only a menu</p></nav></body></html>").text == "Only a menu"


def test_layout_tables_are_no_tables() -> None:
    page = "<html><table><tr><td><table><tr><td><p>One</p></td><td><p>Two</p></td></tr></table></td></tr></table>"
    assert "|" not in parse(page).text


@pytest.mark.parametrize(
    ("page", "encoding"),
    [
        ("<html><meta charset=shift_jis><p>日本語のテキスト", "shift_jis"),
        ('<html><meta http-equiv=Content-Type content="text/html; charset=windows-1251"><p>Привет', "cp1251"),
        ("<html><meta charset=iso-8859-1><p>déjà", "utf-8"),
        ("<html><p>déjà", "utf-16"),
        (
            '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><p>déjà</p></html>',
            "utf-8",
        ),
        ("<html><meta charset=no-such-thing><p>caf\u00e9 au lait", "latin-1"),
    ],
)
def test_encodings(page: str, encoding: str) -> None:
    assert parse(page.encode(encoding)).text == page.rpartition("<p>")[2].removesuffix("</p></html>")


@pytest.mark.parametrize("open_tag", ["<div>", "<b>", "<ul><li>", "<table><tr><td>", "<span>"])
def test_deep_nesting_is_refused_or_read(open_tag: str) -> None:
    try:
        found = parse(f"<html><body>{open_tag * 100_000}x")
    except InvalidRequest as error:
        assert "depth" in error.detail  # noqa: PT017
    else:
        assert "x" in found.text


def test_sizes_are_bounded() -> None:
    with pytest.raises(TooLarge, match="PREPROCESS_MAX_TEXT_CHARS"):
        parse("<html><p>" + "word " * 1000, limit=1000)


@pytest.mark.parametrize(
    "page", ["<html></html>", "<html><script>x</script>", "<!-- x -->", "<html><body>\x00", "<html><!--" * 100]
)
def test_no_text(page: str) -> None:
    with pytest.raises(InvalidRequest):
        parse(page)


@pytest.mark.parametrize(
    "junk", ["<" * 10_000, "<p " + "a=1 " * 10_000, "&amp;" * 10_000, "</p>" * 10_000, "<p\x00>x"]
)
def test_junk_is_survived(junk: str) -> None:
    assert "end" in parse(f"<html><p>start</p>{junk}></p><p>end</p></html>").text
