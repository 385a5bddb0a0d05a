"""The small parts of the page by themselves, as the browser runs them."""

import random
from typing import Any

import pytest

from tests.web.browser import Browser


@pytest.fixture(scope="module")
def parts(chrome: Browser) -> Browser:
    """The page, opened once for all of these tests."""
    return chrome.open()


def imported(parts: Browser, script: str, *arguments: Any) -> Any:
    """What an asynchronous script resolves to; ``load`` imports a module of the page."""
    return parts.driver.execute_async_script(
        "const tell = arguments[arguments.length - 1], given = arguments, load = (name) => import(`/web/${name}`);"
        f"(async () => {{ {script} }})().then(tell, (error) => tell(String(error)))",
        *arguments,
    )


def test_offsets_count_code_points(parts: Browser) -> None:
    chooser = random.Random(6)
    cases = []
    for _ in range(300):
        text = "".join(chooser.choice("ab ü\n🚢👩‍👧𝔘ﷺ") for _ in range(chooser.randrange(40)))
        start = chooser.randrange(len(text) + 1)
        cases.append((text, start, chooser.randrange(start, len(text) + 1)))
    script = """
      const {slice, points} = await load('text.js');
      return given[0].map(([text, start, end]) => [slice(text, start, end), points(text)]);
    """
    assert imported(parts, script, cases) == [[text[start:end], len(text)] for text, start, end in cases]


def test_events_are_read_however_they_are_cut(parts: Browser) -> None:
    stream = (
        ': heartbeat\n\nevent: token\ndata: {"text": "🚢 a\\n\\nb"}\n\n'
        'event: done\r\ndata: {"x":\r\ndata: 1}\r\n\r\nevent: half'
    )
    script = """
      const {events} = await load('events.js'), bytes = new TextEncoder().encode(given[0]), found = [];
      for (let size = 1; size <= bytes.length; size += 1) {
        const body = new ReadableStream({start(to) {
          for (let at = 0; at < bytes.length; at += size) to.enqueue(bytes.slice(at, at + size));
          to.close();
        }});
        const read = [];
        for await (const event of events(new Response(body))) read.push(event);
        found.push(JSON.stringify(read));
      }
      return [...new Set(found)].map(JSON.parse);
    """
    wanted = [{"name": "token", "data": {"text": "🚢 a\n\nb"}}, {"name": "done", "data": {"x": 1}}]
    assert imported(parts, script, stream) == [wanted]


def test_markers_are_found_however_tokens_are_cut(parts: Browser) -> None:
    script = """
      const {AnswerText} = await load('answer.js'), text = given[0], found = [];
      for (let size = 1; size <= text.length; size += 1) {
        const node = document.createElement('div'), answer = new AnswerText(node, () => {});
        for (let at = 0; at < text.length; at += size) answer.write(text.slice(at, at + size));
        answer.finish({answer: text, citations: [{marker: '[1]'}, {marker: '[12]'}]});
        const parts = [...node.firstChild.childNodes];
        found.push(JSON.stringify(parts.map((each) => each.dataset?.marker ?? each.data)));
      }
      return [...new Set(found)].map(JSON.parse);
    """
    assert imported(parts, script, "One. [1] Two [3] [x] [ 12]. [12]") == [
        ["One. ", "[1]", " Two ", "[3]", " [x] [ 12]. ", "[12]"]
    ]


def test_unsupported_parts_are_marked_where_they_stand(parts: Browser) -> None:
    script = """
      const {AnswerText} = await load('answer.js'), node = document.createElement('div');
      const answer = new AnswerText(node, () => {});
      answer.write(given[0]);
      const unsupported = [{start: given[1], end: given[2], reason: 'a number'}];
      answer.finish({answer: given[0], citations: [{marker: '[1]'}], unsupported});
      const [doubt] = node.querySelectorAll('.doubt');
      return [doubt.firstChild.data, node.querySelectorAll('.cite').length, node.textContent];
    """
    text = "🚢 Boats rest. [1] There are 99 of them 🐳. And more."
    start = text.index("There")
    said = imported(parts, script, text, start, text.index(" And"))
    assert said == [
        "There are 99 of them 🐳.",
        1,
        text.replace("[1]", "1").replace("🐳.", "🐳. (not supported: a number)"),
    ]


def test_values_of_conditions_are_what_they_look_like(parts: Browser) -> None:
    meant = {
        "2024": 2024,
        '"2024"': "2024",
        "true": True,
        "-1.5e3": -1500,
        "007": "007",
        "en, de": "en, de",
        "[1]": "[1]",
    }
    script = """
      const {addCondition, filterOf} = await load('filter.js');
      addCondition(() => {});
      const [field, operator, value] = document.querySelectorAll('.field, .operator, .value');
      field.value = 'x';
      return given[0].map((typed) => {
        value.value = typed;
        operator.value = 'is';
        const one = filterOf().x;
        operator.value = '$in';
        return [one, filterOf().x.$in];
      });
    """
    several = [["en", "de"] if "," in typed else [value] for typed, value in meant.items()]
    found = imported(parts, script, list(meant))
    assert found == [list(pair) for pair in zip(meant.values(), several, strict=True)]


def test_degraded_answers_say_what_was_away(parts: Browser) -> None:
    script = """
      const {notes} = await load('notes.js');
      return notes({
        degraded: ['dense', 'sparse', 'rerank', 'llm', 'rerank:overlap', 'guards'], finish: 'length', like: 'x',
        cached: true, unsupported: [{start: 0, end: 1}], query: 'the mills',
        findings: [{guard: 'secrets', stage: 'answer', action: 'mask', detail: 'a key', count: 2}],
      }).map(({text}) => text);
    """
    said = imported(parts, script)
    assert len(said) == 11
    assert "The guard secrets masked a key, 2 times in the answer." in said
    assert all(sentence.endswith(".") for sentence in said)
