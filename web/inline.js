/* Running text of an answer as nodes of the page: code, emphasis, links, rows of tables that stand alone. */
import { make } from "./dom.js";

const OPEN = 16; // marks of emphasis that wait for their end
const WORD = /[\p{L}\p{N}_]/u;
const LETTER = { _: WORD, "*": /\w/ }; // 2*3*4 and snake_case; other scripts set no spaces around bold words
const link = (least, label, href) =>
  String.raw`\[(?<${label}>(?:!\[[^[\]]{0,300}\]\([^()\s]{0,999}\)|[^[\]]){${least},500})\]\(<?(?<${href}>[^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)*)>?(?:\s+"[^"\n]*")?\)`;
const PIECES = [
  String.raw`\\(?<escaped>[\x60*_[\]{}()#+\-.!|<>~])`,
  "(?<!`)(?<ticks>`+)(?!`)(?<code>[^]*?[^`])\\k<ticks>(?!`)",
  String.raw`(?<marker>\[\d{1,4}\])`,
  `!${link(0, "alt", "src")}`,
  link(1, "label", "href"),
  String.raw`(?<=^|\n|\d\] )\|(?<row>[^\n|]+\|[^\n]*?)\|(?=\s*(?:\[\d|\n|$))`,
  String.raw`\*+|_+`,
];
const PIECE = new RegExp(PIECES.join("|"), "g");
const part = ({ text, places }, from, to) => ({ text: text.slice(from, to), places: places.slice(from, to) });

/** The nodes of each cell of a row; bars that are escaped are no edges. */
export function cells(row, leaf) {
  const edges = [...row.text.matchAll(/(?<!\\)\|/g)].map((match) => match.index);
  if (row.text.slice(edges.at(-1) + 1).trim()) edges.push(row.text.length); // a marker behind the last bar
  return edges.slice(1).map((end, n) => {
    const text = row.text.slice(edges[n] + 1, end);
    const from = edges[n] + 1 + /^\s*/.exec(text)[0].length;
    return inline(part(row, from, Math.max(from, from + text.trim().length)), leaf, true);
  });
}

/** The nodes of running text, `inCell` of a table. */
export function inline(whole, leaf, inCell = false) {
  const { text } = whole;
  const open = [{ nodes: [] }];
  const write = (nodes) => nodes.forEach((node) => open.at(-1).nodes.push(node));
  const said = (from, to, code = false) => (from < to ? leaf(text.slice(from, to), whole.places.slice(from, to), code) : []);
  let from = 0;
  for (const match of text.matchAll(PIECE)) {
    const { escaped, code, ticks, marker, alt, label, href, row } = match.groups;
    const [at, end] = [match.index, match.index + match[0].length];
    write(said(from, at));
    from = end;
    if (escaped) write(said(at + 1, end));
    else if (code) write([make("code", {}, ...inCode(text, at + ticks.length, end - ticks.length, said, inCell))]);
    else if (marker) write(said(at, end));
    else if (alt != null) write(said(at + 2, at + 2 + alt.length));
    else if (label) write(linked(inline(part(whole, at + 1, at + 1 + label.length), leaf, inCell), href));
    else if (row) write(cells(part(whole, at, end), leaf).filter((nodes) => nodes.length).flatMap((nodes, n) => (n ? [" · ", ...nodes] : nodes)));
    else emphasise(open, match, write, said);
  }
  write(said(from, text.length));
  fold(open, 0, said);
  return open[0].nodes;
}

/** The nodes of code; a blank on both sides is no part of it, and in a cell bars are escaped. */
function inCode(text, from, to, said, inCell) {
  const padded = /^ .*\S.* $/s.test(text.slice(from, to)) ? 1 : 0;
  const nodes = [];
  let begin = from + padded;
  for (const match of inCell ? text.slice(from, to).matchAll(/\\(?=\|)/g) : []) {
    nodes.push(...said(begin, from + match.index, true));
    begin = from + match.index + 1;
  }
  return [...nodes, ...said(begin, to - padded, true)];
}

/** A link that tells where it leads: its text was written by strangers. What leads nowhere on the web is its text alone. */
function linked(nodes, href) {
  const url = URL.canParse(href) ? new URL(href) : null;
  if (url?.protocol !== "https:" && url?.protocol !== "http:") return nodes;
  const label = make("bdi", {}, ...nodes);
  const text = label.textContent;
  const told = [url.host, url.origin].some((each) => text === each || text.startsWith(`${each}/`));
  const host = told ? [] : [" (", make("bdi", { dir: "ltr", class: "host" }, url.host), ")"];
  return [make("a", { href: url.href, rel: "noopener noreferrer", target: "_blank" }, label, ...host)];
}

/** Take a run of stars or low lines: the end of what is open, the beginning of something, or text. */
function emphasise(open, { 0: run, index, input }, write, said) {
  const mark = run[0];
  const before = input[index - 1] ?? " ";
  const after = input[index + run.length] ?? " ";
  const known = run.length <= (mark === "_" ? 1 : 3);
  let left = run.length;
  while (known && left && /\S/.test(before) && !(mark === "_" && WORD.test(after))) {
    const n = open.findLastIndex((each) => each.mark === mark && (each.left === left || each.left === 3 || left === 3));
    if (n < 0) break;
    fold(open, n, said);
    const used = Math.min(open[n].left, left) > 1 ? 2 : 1;
    const wrapped = make(used > 1 ? "strong" : "em", {}, ...open[n].nodes);
    open[n].nodes = [wrapped];
    open[n].left -= used;
    left -= used;
    if (!open[n].left) {
      open.pop();
      write([wrapped]);
    }
  }
  if (!left) return;
  const opens = known && left === run.length && open.length < OPEN && /\S/.test(after) && !LETTER[mark].test(before);
  if (opens) open.push({ mark, left, at: index, nodes: [] });
  else write(said(index + run.length - left, index + run.length));
}

/** What was opened above frame `n` and never closed becomes text of that frame. */
function fold(open, n, said) {
  for (const { at, left, nodes } of open.splice(n + 1)) open[n].nodes = open[n].nodes.concat(said(at, at + left), nodes);
}
