"""The Markdown of answers: what it becomes, that it comes without flicker, and that it can do no harm."""

import pytest

from tests.web.browser import Browser
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
