"""The Markdown of answers: what it becomes, that it comes without flicker, and that it can do no harm."""

from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.web.browser import Browser
from tests.web.door import Door, Fault
from tests.web.test_looks import CONTRAST, NAMES, WIDER
from tests.web.test_parts import imported

# Text on the left; on the right the nodes it becomes, where `#1` is a button of source 1.
SNIPPETS = {
    "plain": "<p>plain</p>",
    "one\ntwo\n\nthree": "<p>one\ntwo</p><p>three</p>",
    "`a*b*` ``a`b`` ` c": "<p><code>a*b*</code> <code>a`b</code> ` c</p>",
    "**bold** *it* _it_ ***both***": (
        "<p><strong>bold</strong> <em>it</em> <em>it</em> <em><strong>both</strong></em></p>"
    ),
    "**a *b* c**d 这是**粗体**字": "<p><strong>a <em>b</em> c</strong>d 这是<strong>粗体</strong>字</p>",
    "snake_case_name __init__ 2*3*4 2**3**4 f(*args, **kw) a * b": (
        "<p>snake_case_name __init__ 2*3*4 2**3**4 f(*args, **kw) a * b</p>"
    ),
    "**bo": "<p>**bo</p>",
    "**bold*": "<p>**bold*</p>",
    "\\*no\\* \\[1\\] C:\\dir \\\\host\\share": "<p>*no* [1] C:\\dir \\\\host\\share</p>",
    "**see [1]** `[1]` [1](x)": "<p><strong>see #1</strong> <code>[1]</code> #1(x)</p>",
    "[docs](https://a.example/b_c_d) [no](how-to/x.md#y) ![a ship](http://x/y.png)": (
        "<p><a><bdi>docs</bdi> (<bdi>a.example</bdi>)</a> no a ship</p>"
    ),
    "[https://bank.example](https://evil.example/)": (
        "<p><a><bdi>https://bank.example</bdi> (<bdi>evil.example</bdi>)</a></p>"
    ),
    "[https://a.example/x](https://a.example/x) [a.example](http://a.example)": (
        "<p><a><bdi>https://a.example/x</bdi></a> <a><bdi>a.example</bdi></a></p>"
    ),
    "[https://a.example@evil.example](https://a.example@evil.example)": (
        "<p><a><bdi>https://a.example@evil.example</bdi> (<bdi>evil.example</bdi>)</a></p>"
    ),
    "- a [1]\n- b\n  - c\n\n- d\nend": "<ul><li><p>a #1</p></li><li><p>b</p><ul><li><p>c</p></li></ul></li>"
    "<li><p>d</p></li></ul><p>end</p>",
    "Do:\n3. x\n   ```sh\n   - y\n   ```\n4) z": (
        "<p>Do:</p><ol><li=3><p>x</p><pre><code>- y</code></pre></li><li=4><p>z</p></li></ol>"
    ),
    "1921. A year": "<p>1921. A year</p>",
    "## Head **b** ##\ntext\n---\nx": "<p><strong>Head <strong>b</strong></strong></p><p>text</p><hr><p>x</p>",
    "```py\nif a < b:\n  [1] **x**\n```\nafter": "<pre><code>if a < b:\n  [1] **x**</code></pre><p>after</p>",
    "``` curl -s x [1]": "<p>``` curl -s x #1</p>",
    "~~~\nopen": "<pre><code>open</code></pre>",
    "> said\n> - *so*\n\nx": "<blockquote><p>said</p><ul><li><p><em>so</em></p></li></ul></blockquote><p>x</p>",
    "| a | b |\n|---|:-:|\n| `x\\|y` | **z** [1] |": "<div><table><thead><tr><th>a</th><th>b</th></tr></thead>"
    "<tbody><tr><td><code>x|y</code></td><td><strong>z</strong> #1</td></tr></tbody></table></div>",
    "| `/` | go \\| run | [1] | `?` | keys | [2]": "<p><code>/</code> · go | run #1 <code>?</code> · keys #2</p>",
    "So. [1] | a | b |": "<p>So. #1 a · b</p>",
    "a | b and |x| y": "<p>a | b and |x| y</p>",
    "<b>x</b> &amp; <!-- y -->": "<p><b>x</b> &amp; <!-- y --></p>",
}
SHAPE = """
const inside = (node) => [...node.childNodes].map(shape).join('');
const shape = (node) => {
  if (node.nodeType === Node.TEXT_NODE) return node.data;
  if (node.dataset.marker) return `#${node.dataset.marker.slice(1, -1)}`;
  const name = node.localName + (node.hasAttribute('value') ? `=${node.value}` : '');
  if (node.localName === 'hr') return '<hr>';
  return `<${name}>${inside(node)}</${node.localName}>`;
};
const {AnswerText} = await load('answer.js');
const citations = [{marker: '[1]'}, {marker: '[2]'}];
const whole = (text, unsupported = []) => {
  const node = document.createElement('div'), answer = new AnswerText(node, () => {});
  answer.finish({answer: text, citations, unsupported});
  return node;
};
"""


@pytest.fixture(scope="module")
def parts(chrome: Browser) -> Browser:
    """The page, opened once for all of these tests."""
    return chrome.open()


def test_markdown_becomes_what_it_means(parts: Browser) -> None:
    shapes = imported(parts, SHAPE + "return given[0].map((text) => inside(whole(text)));", list(SNIPPETS))
    assert dict(zip(SNIPPETS, shapes, strict=True)) == SNIPPETS


def test_a_stream_ends_as_what_came_whole_and_keeps_what_stands(parts: Browser) -> None:
    script = """
      const odd = [], place = document.body.appendChild(document.createElement('div'));
      const frame = () => new Promise(requestAnimationFrame);
      for (const size of [1, 3, 7]) {
        const node = place.appendChild(document.createElement('div')), answer = new AnswerText(node, () => {});
        answer.cite(citations[0]);
        let button = null, first = null;
        for (let at = 0; at < given[0].length; at += size) {
          answer.write(given[0].slice(at, at + size));
          await frame();
          if (!button && (button = node.querySelector('.cite'))) button.focus();
          first ??= node.firstChild;
          const now = document.activeElement;
          if (button && now.dataset.marker !== '[1]') odd.push(`focus lost at ${at}`);
          if (!node.isConnected || node.firstChild !== first) odd.push(`drawn anew at ${at}`);
        }
        answer.finish({answer: given[0], citations, unsupported: []});
        if (inside(node) !== inside(whole(given[0]))) odd.push(inside(node));
        if (document.activeElement.dataset.marker !== '[1]') odd.push('focus lost in the end');
      }
      place.remove();
      return odd;
    """
    text = "Yes **so it [1] is** and *on*:\n\n1. a **b [2]**\n   - c\n\n2. d\n"
    text += "| a | b |\n|---|---|\n| c | d |\nx\n```\ny"
    assert imported(parts, SHAPE + script, text) == []


def test_a_long_answer_is_drawn_anew_at_its_end_only(parts: Browser) -> None:
    script = """
      const node = document.createElement('div'), answer = new AnswerText(node, () => {});
      answer.write(given[0]);
      answer.drawBegun();
      const drawn = [];
      const leaf = answer.leaf.bind(answer);
      answer.leaf = (text, ...rest) => { drawn.push(text.length); return leaf(text, ...rest); };
      for (let n = 0; n < 50; n += 1) { answer.write('word '); answer.drawBegun(); }
      return [Math.max(...drawn), node.textContent.length];
    """
    most, length = imported(parts, SHAPE + script, "A paragraph of **words** that goes on.\n\n" * 400)
    assert length > 12_000
    assert most < 300


def test_a_part_in_doubt_is_marked_across_formatting(parts: Browser) -> None:
    script = """
      const node = whole(given[0], given[1].map(([start, end]) => ({start, end, reason: 'no source'})));
      return [0, 1].map((n) => [...node.querySelectorAll(`[data-doubt="${n}"]`)].map((each) => each.textContent));
    """
    text = "\U0001f6a2 It **has 17 boats** [1] and `99 cats`.\n\n- one\n- *two* three"
    doubts = [(text.index("17"), text.index(".\n") + 1), (text.index("one"), len(text))]
    told = " (not supported: no source)"
    assert imported(parts, SHAPE + script, text, doubts) == [
        ["17 boats", " ", "1", " and ", "99 cats", "." + told],
        ["one", "two", " three" + told],
    ]


def made(text: str, size: int = 7, **fields: Any) -> list[tuple[str, dict[str, Any]]]:
    """The events of an answer that says this, with a source for ``[1]``."""
    citation = {
        "marker": "[1]",
        "passage_id": "p",
        "document_id": "guide/brell 1.txt",
        "start": 0,
        "end": 5,
        "quote": "a `quote` of **it**",
        "score": 0.9,
        "masked": False,
    }
    done = {"id": "made", "answer": text, "citations": [citation], "findings": [], "model": "made", **fields}
    tokens = [("token", {"text": text[at : at + size]}) for at in range(0, len(text), size)]
    return [("passages", {"passages": []}), *tokens, ("citation", citation), ("done", done)]


def test_a_streamed_answer_is_drawn_told_and_read(page: Browser, door: Door) -> None:
    text = (
        f"It is **open [1]** on:\n\n- `Monday` *early* [1]\n- Friday\n  ```\n  {'wide ' * 60}\n  ```\n\n"
        "| day | at |\n|---|---|\n| Monday | 8 |\n\n"
        f"```\n{'wide ' * 60}\n```\n\n> kept\n\n[there](https://a.example/x). It has 99 *rooms*."
    )
    start = text.index("It has")
    doubt = [{"start": start, "end": len(text), "reason": "no source"}]
    with door.fault(Fault("/generate", events=made(text, unsupported=doubt), after=b"event: citation")) as held:
        page.press("When is it open?", Keys.ENTER)
        page.until(lambda: page.all(".answer strong .cite:enabled"))
        page.run("document.querySelector('.answer strong .cite').focus()")
        page.until(lambda: [each.text for each in page.all(".answer li p code")] == ["Monday"])
        held.release.set()
        assert page.settled().get_attribute("data-state") == "done"
    assert page.run("return document.activeElement === document.querySelector('.answer strong .cite')")
    assert [each.text for each in page.all(".answer td")] == ["Monday", "8"]
    assert page.one(".answer .doubt").text.strip() == "It has 99"
    assert len(page.all(".answer .cite:enabled")) == 2
    assert page.one(".sources q").text == "a `quote` of **it**"
    told = page.run("return document.getElementById('said').textContent")
    assert told.startswith("Answer: It is open on: Monday early Friday wide")
    for theme, width in (("light", 1280), ("dark", 320)):
        page.prefer(prefers_color_scheme=theme, prefers_reduced_motion="reduce")
        page.resize(width, 640)
        assert page.run(CONTRAST) == page.run(NAMES) == []
        assert not page.run(WIDER)


def test_hostile_markup_is_shown_and_does_nothing(page: Browser, door: Door) -> None:
    text = (
        "<script>window.pwned=1</script> <img src=x onerror=window.pwned=2> **<b onclick=x>y</b>**\n\n"
        "[a](javascript:window.pwned=3) [b](JaVaScRiPt:alert(1)) [c](data:text/html,x) [d](//evil.example) "
        "[e](/x)\n\n"
        '![f](https://evil.example/x.png) [https://bank.example](https://evil.example/"onclick=x)\n\n'
        "- <svg onload=window.pwned=4>\n\n```html\n<script>window.pwned=5</script>\n```\n\n"
        "| <iframe src=x> | h |\n|---|---|\n| [g](vbscript:x) | <style>*{}</style> |\n\n" + ">" * 2000 + "*" * 2000
    )
    fault = Fault("/generate", events=made(text, 50))
    fault.release.set()
    with door.fault(fault):
        turn = page.ask("Who?")
    assert turn.get_attribute("data-state") == "done"
    shown = page.run("return document.querySelector('.answer').textContent")
    for line in (
        "<script>window.pwned=1</script>",
        "<img src=x onerror=window.pwned=2>",
        "a b c d e\n",
        "<iframe src=x>",
    ):
        assert line.strip() in shown
    wild = "img, script, svg, iframe, style, [onclick], [onerror], [style]"
    assert page.run(f"return [window.pwned ?? 0, document.querySelectorAll('.answer :is({wild})').length]") == [
        0,
        0,
    ]
    links = (
        "return [...document.querySelectorAll('.answer a')].map((a) => [a.textContent, a.host, a.rel, a.target])"
    )
    label = "https://bank.example (evil.example)"
    assert page.run(links) == [[label, "evil.example", "noopener noreferrer", "_blank"]]
