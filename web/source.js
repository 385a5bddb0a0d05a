/* The panel beside the answer: the document that a citation points at, its span marked. */
import { call, pathOf } from "./api.js";
import { button, byId, calm, make } from "./dom.js";
import { problemView } from "./problem.js";
import { points, unitAt } from "./text.js";

const WIDE = "(min-width: 64rem)";
const MASK = "█"; // stands for each letter of a quote that a guard hides
const MORE = 3; // passages that one more click shows
let showing = null; // {list, at, collection, titles, from}

/** Show citation `at` of `list`; the focus goes back to `from` at the end. */
export async function openSource(list, at, { collection, titles, from }) {
  showing = { list, at, collection, titles, from };
  const citation = list[at];
  const mine = showing;
  frame(citation);
  show();
  byId("source-text").replaceChildren(make("p", { class: "soft" }, "Reading the document …"));
  try {
    const path = `documents/${pathOf(citation.document_id)}?passages=true&collection=${encodeURIComponent(collection)}`;
    const found = await call("GET", path);
    if (showing === mine) text(citation, found);
  } catch (problem) {
    if (showing === mine) gone(citation, problem);
  }
}

function frame(citation) {
  const { list, at, titles } = showing;
  const title = titles.get(citation.passage_id) || citation.document_id;
  byId("source-title").textContent = title;
  const about = [
    title === citation.document_id ? "" : citation.document_id,
    citation.page == null ? "" : `page ${citation.page}`,
    `holds ${Math.round(citation.score * 100)}% of what the sentence says`,
  ];
  byId("source-about").textContent = about.filter(Boolean).join(" · ");
  byId("source-place").textContent = `${citation.marker} · ${at + 1} of ${list.length}`;
  byId("source-before").disabled = at === 0;
  byId("source-after").disabled = at === list.length - 1;
}

function show() {
  const panel = byId("source");
  if (panel.open) return;
  byId("desk").classList.add("with-source");
  if (matchMedia(WIDE).matches) panel.show();
  else panel.showModal(); // it covers the page, so the focus stays inside
}

/** Close the panel; whether it was open. */
export function closeSource() {
  const panel = byId("source");
  if (!panel.open) return false;
  panel.close();
  return true;
}

function gone(citation, problem) {
  const said = "This is the quote that the answer was made from; the document itself cannot be shown.";
  const reason = problem.status === 404 ? "The document was deleted since." : "";
  byId("source-text").replaceChildren(
    make("p", { class: "note warn" }, `${reason} ${said}`.trim()),
    make("blockquote", { dir: "auto" }, make("mark", {}, citation.quote)),
    ...(problem.status === 404 ? [] : [problemView(problem, () => openSource(showing.list, showing.at, showing))]),
  );
}

/** The passage of the quote with its neighbours; offsets count code points of the whole source text. */
function text(citation, found) {
  let source = found.text;
  let start = unitAt(source, citation.start);
  let end = start + unitAt(source.slice(start), citation.end - citation.start);
  let warning = null;
  if (citation.masked && fits(source.slice(start, end), citation.quote)) {
    source = source.slice(0, start) + citation.quote + source.slice(end); // what a guard hides stays hidden
    end = start + citation.quote.length;
  }
  if (source.slice(start, end) !== citation.quote) {
    start = source.indexOf(citation.quote);
    end = start + citation.quote.length;
    warning = make("p", { class: "note warn" }, "The document has changed since this answer was written.");
    if (start < 0) {
      const kept = make("blockquote", { dir: "auto" }, make("mark", {}, citation.quote));
      byId("source-text").replaceChildren(warning, make("p", {}, "It no longer holds the quote:"), kept);
      return;
    }
  }
  const edges = passageEdges(found, source);
  const own = nearest(edges, start);
  draw({ source, start, end, edges, first: own - 1, last: own + 1, own, warning });
}

/** Whether a text is the quote, but for the letters that are masked in it. */
function fits(text, quote) {
  const [letters, shown] = [[...text], [...quote]];
  return letters.length === shown.length && shown.every((each, at) => each === MASK || each === letters[at]);
}

function passageEdges(found, source) {
  const listed = [...(found.passage_list ?? [])].sort((one, other) => one.start - other.start);
  const edges = [];
  let unit = 0;
  let point = 0;
  for (const passage of listed) {
    const from = unit + unitAt(source.slice(unit), passage.start - point);
    const to = from + unitAt(source.slice(from, from + 2 * (passage.end - passage.start)), passage.end - passage.start);
    [unit, point] = [from, passage.start];
    edges.push({ from, to });
  }
  return edges.length ? edges : [{ from: 0, to: source.length }];
}

function nearest(edges, unit) {
  const inside = edges.findIndex((each) => each.from <= unit && unit < each.to);
  return inside >= 0 ? inside : Math.max(0, edges.findLastIndex((each) => each.from <= unit));
}

function draw(view) {
  const { source, start, end, edges, own, warning } = view;
  const first = Math.max(0, view.first);
  const last = Math.min(edges.length - 1, view.last);
  const from = Math.min(first === 0 ? 0 : edges[first].from, start);
  const to = Math.max(last === edges.length - 1 ? source.length : edges[last].to, end);
  const [left, right] = [Math.min(edges[own].from, start), Math.max(edges[own].to, end)];
  const mark = make("mark", { tabindex: "-1" }, source.slice(start, end));
  const body = make(
    "div",
    { class: "page-text", dir: "auto" },
    neighbour(source.slice(from, left)),
    source.slice(left, start),
    mark,
    source.slice(end, right),
    neighbour(source.slice(right, to)),
  );
  const more = (label, change) => button(label, () => draw({ ...view, ...change, moved: true }));
  const place = byId("source-text");
  const children = [
    warning,
    from > 0 && more(`Show what stands before (${points(source.slice(0, from)).toLocaleString("en")} more characters)`, { first: first - MORE }),
    body,
    to < source.length && more(`Show what follows (${points(source.slice(to)).toLocaleString("en")} more characters)`, { last: last + MORE }),
  ];
  place.replaceChildren(...children.filter(Boolean));
  if (!view.moved) mark.scrollIntoView({ block: "center", behavior: calm() ? "auto" : "smooth" });
}

function neighbour(text) {
  return text ? make("span", { class: "neighbour" }, text) : null;
}

function step(by) {
  openSource(showing.list, showing.at + by, showing);
}

/** Make the panel work. */
export function wireSource() {
  byId("source-close").addEventListener("click", closeSource);
  byId("source-before").addEventListener("click", () => step(-1));
  byId("source-after").addEventListener("click", () => step(1));
  byId("source").addEventListener("close", () => {
    byId("desk").classList.remove("with-source");
    const from = showing?.from;
    showing = null;
    if (from?.isConnected) from.focus();
  });
}
