/* The Markdown of an answer as nodes of the page. It is text of strangers: what is not understood stays text. */
import { make } from "./dom.js";
import { cells, inline } from "./inline.js";

const FENCE = /^ {0,3}(`{3,}|~{3,}) *[\w+#.-]*\s*$/;
const HEADING = /^ {0,3}#{1,6} +(?=\S)/;
const RULE = /^ {0,3}([-*_])\1{2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const ROW = /^ {0,3}\|.*\|/;
const UNDER = /^ {0,3}\|(?:\s*:?-+:?\s*\|)+\s*$/; // below the header of a table
const ITEM = /^( {0,3})(?:[-*+•]|(\d{1,3})[.)]) +(?=\S)/; // "1921." is a year
const INDENTED = /^(?: {2}|\t)/;
const DEEP = 4; // lists and quotes in each other

/** The lines of `text` from a place on, each with where it begins. */
export function linesOf(text, from = 0) {
  const lines = [];
  for (const line of text.slice(from).split("\n")) {
    lines.push({ text: line, at: from });
    from += line.length + 1;
  }
  return lines;
}

/** The blocks of some lines, `{at, node}` each. `leaf(text, places, code)` makes nodes of text whose letters stand at these places.
 * Whether a line begins a block can be told by that line alone: what a stream adds changes the last one or begins another. */
export function blocks(lines, leaf, depth = 0) {
  const found = [];
  for (let n = 0; n < lines.length; ) {
    const [draw, many] = lines[n].text.trim() ? kind(lines, n, depth) : [null, 1];
    if (draw) {
      const node = draw(lines.slice(n, n + many), leaf, depth);
      node.normalize();
      found.push({ at: lines[n].at, node });
    }
    n += many;
  }
  return found;
}

/** How to draw the block that begins at line `n`, and how many lines it has. */
function kind(lines, n, depth) {
  const { text } = lines[n];
  const fence = FENCE.exec(text)?.[1];
  const count = (goesOn) => {
    let end = n + 1;
    while (end < lines.length && goesOn(lines[end].text, end)) end += 1;
    return end - n;
  };
  if (fence) return [fenced, count((_, at) => at === n + 1 || !closes(lines[at - 1].text, fence))];
  if (RULE.test(text)) return [() => make("hr"), 1];
  if (HEADING.test(text)) return [heading, 1];
  if (ROW.test(text)) return [UNDER.test(lines[n + 1]?.text) ? table : paragraph, count((each) => ROW.test(each))];
  if (depth < DEEP && QUOTE.test(text)) return [quote, count((each) => QUOTE.test(each))];
  if (depth < DEEP && ITEM.test(text)) {
    const goesOn = (each) => Boolean(each.trim()) && (INDENTED.test(each) || sibling(text, each));
    return [list, count((each, at) => goesOn(each.trim() ? each : (lines[at + 1]?.text ?? "")))];
  }
  const begins = [FENCE, RULE, HEADING, ROW, ...(depth < DEEP ? [QUOTE, ITEM] : [])];
  return [paragraph, count((each) => each.trim() && !begins.some((mark) => mark.test(each)))];
}

const closes = (line, fence) => line.trim().length >= fence.length && line.trim() === fence[0].repeat(line.trim().length);

/** Whether a line is the next item of the list that begins with `first`. */
function sibling(first, line) {
  const [one, other] = [ITEM.exec(first), ITEM.exec(line)];
  return Boolean(other) && !one[2] === !other[2] && other[1].length < one[1].length + 2;
}

const cut = (line, by) => ({ text: line.text.slice(by), at: line.at + by });
const joined = (lines) => ({ text: lines.map((line) => line.text).join("\n"), places: lines.flatMap((line) => Array.from({ length: line.text.length + 1 }, (_, n) => line.at + n)) });
const nodesOf = (lines, leaf, depth) => blocks(lines, leaf, depth + 1).map((each) => each.node);
const paragraph = (lines, leaf) => make("p", {}, ...inline(joined(lines), leaf));
const quote = (lines, leaf, depth) => make("blockquote", {}, ...nodesOf(lines.map((line) => cut(line, QUOTE.exec(line.text)[0].length)), leaf, depth));

function heading([line], leaf) {
  const own = cut(line, HEADING.exec(line.text)[0].length);
  return make("p", { class: "head" }, make("strong", {}, ...inline(joined([{ ...own, text: own.text.replace(/\s+#*\s*$/, "") }]), leaf)));
}

function fenced(lines, leaf) {
  const fence = FENCE.exec(lines[0].text)[1];
  const { text, places } = joined(lines.slice(1, lines.length > 1 && closes(lines.at(-1).text, fence) ? -1 : undefined));
  return make("pre", { tabindex: "0", role: "region", "aria-label": "Code" }, make("code", {}, ...leaf(text, places, true)));
}

function list(lines, leaf, depth) {
  const items = [];
  for (const line of lines) {
    const mark = sibling(lines[0].text, line.text) && ITEM.exec(line.text);
    const wide = mark ? mark[0].length : items.at(-1).wide;
    if (mark) items.push({ wide, value: mark[2], lines: [] });
    items.at(-1).lines.push(cut(line, mark ? wide : Math.min(wide, /^\s*/.exec(line.text)[0].length)));
  }
  const drawn = items.map(({ value, lines: own }) => make("li", { value }, ...nodesOf(own, leaf, depth)));
  return make(items[0].value ? "ol" : "ul", {}, ...drawn);
}

function table([header, , ...rows], leaf) {
  const row = (line, name, attributes) => make("tr", {}, ...cells(joined([line]), leaf).map((nodes) => make(name, attributes, ...nodes)));
  const body = make("tbody", {}, ...rows.map((line) => row(line, "td", {})));
  return make("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" }, make("table", {}, make("thead", {}, row(header, "th", { scope: "col" })), body));
}
