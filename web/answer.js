/* The text of an answer as it comes: its Markdown is drawn, and citation markers become buttons that lead to their sources. */
import { make } from "./dom.js";
import { blocks, linesOf } from "./markup.js";
import { unitAt } from "./text.js";

const MARKER = /\[(\d{1,4})\]/g;
const BEGUN = /\[\d{0,4}$/; // may become a marker with the next token

export class AnswerText {
  /** Writes into `node`; `open(citation)` is called when one is asked for. */
  constructor(node, open) {
    this.node = node;
    this.open = open;
    this.text = "";
    this.citations = new Map();
    this.doubts = [];
    this.drawn = []; // the blocks that stand in the node, {at, node} each
    this.sure = 0; // where the last one begins that more text may change
    this.frame = 0;
  }

  /** The next token: shown at once, or with others in the next frame. */
  write(token) {
    this.text += token;
    if (!this.frame) this.drawBegun();
  }

  drawBegun() {
    const waiting = BEGUN.exec(this.text);
    const end = waiting ? waiting.index : this.text.length;
    this.draw(end);
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if ((BEGUN.exec(this.text)?.index ?? this.text.length) > end) this.drawBegun();
    });
  }

  /** A citation, whose marker came before it. */
  cite(citation) {
    this.citations.set(citation.marker, citation);
    for (const button of this.node.querySelectorAll("button.cite")) {
      if (button.dataset.marker === citation.marker) this.enable(button, citation);
    }
  }

  /** The whole answer: what it says holds, whatever was streamed; unsupported parts are marked. */
  finish({ answer, citations, unsupported = [] }) {
    for (const citation of citations) this.cite(citation);
    if (answer !== this.text || unsupported.length) this.sure = 0;
    this.text = answer;
    this.doubts = unsupported.map(({ start, end, reason }) => ({ start: unitAt(answer, start), end: unitAt(answer, end), reason }));
    this.end();
    for (const [n, { reason }] of this.doubts.entries()) {
      const last = [...this.node.querySelectorAll(`[data-doubt="${n}"]`)].at(-1);
      last?.append(make("span", { class: "unseen" }, ` (not supported: ${reason})`));
    }
    for (const button of this.node.querySelectorAll("button.cite:disabled")) button.replaceWith(button.dataset.marker);
  }

  /** Show what was held back, of a stream that ended early. */
  end() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.draw(this.text.length);
  }

  /** What it says without marks, numbers of sources and remarks, for those who listen. */
  spoken() {
    const copy = this.node.cloneNode(true);
    for (const each of copy.querySelectorAll(".cite, .unseen")) each.remove();
    for (const each of copy.querySelectorAll("th, td")) each.append(", ");
    for (const each of copy.querySelectorAll("p, li, pre, tr")) each.append(" ");
    return copy.textContent.replace(/ ?\[\d+\]/g, "").replace(/\s+/g, " ").replace(/,? (?=[.,])/g, "").trim();
  }

  /** Draw the text up to `end`: only blocks anew that may have changed, and of these only what did. */
  draw(end) {
    const kept = this.drawn.filter((each) => each.at < this.sure);
    const text = this.text.slice(0, end);
    const fresh = blocks(linesOf(text, this.sure), (...given) => this.leaf(...given));
    const buttons = [...this.node.querySelectorAll("button.cite")];
    const held = buttons.indexOf(document.activeElement);
    for (const [n, each] of fresh.entries()) {
      const old = this.drawn[kept.length + n]?.node;
      if (old) each.node = patch(old, each.node);
      else this.node.append(each.node);
    }
    for (const { node } of this.drawn.slice(kept.length + fresh.length)) node.remove();
    this.drawn = [...kept, ...fresh];
    const line = text.lastIndexOf("\n") + 1; // the last line may turn out to go on with the block before
    this.sure = this.drawn.findLast((each) => each.at < line)?.at ?? 0;
    if (held >= 0 && !buttons[held].isConnected) this.refocus(held, buttons[held].dataset.marker);
  }

  refocus(n, marker) {
    const now = [...this.node.querySelectorAll("button.cite")];
    (now[n]?.dataset.marker === marker ? now[n] : now.find((each) => each.dataset.marker === marker))?.focus();
  }

  /** Nodes of text whose letters stand at `places` of the answer: what is in doubt is marked, markers are buttons but in code. */
  leaf(text, places, code) {
    const runs = [];
    const put = (from, to, node) => {
      const doubt = this.doubts.findIndex(({ start, end }) => start <= places[from] && places[from] < end);
      if (runs.at(-1)?.doubt !== doubt) runs.push({ doubt, nodes: [] });
      runs.at(-1).nodes.push(node ?? new Text(text.slice(from, to)));
    };
    const write = (from, to) => {
      if (!this.doubts.length && from < to) put(from, to);
      else for (let at = from; at < to; at += 1) put(at, at + 1);
    };
    let from = 0;
    for (const match of code ? [] : text.matchAll(MARKER)) {
      write(from, match.index);
      put(match.index, match.index, this.button(match[0], match[1]));
      from = match.index + match[0].length;
    }
    write(from, text.length);
    return runs.flatMap(({ doubt, nodes }) => (doubt < 0 ? nodes : [this.doubtful(doubt, nodes)]));
  }

  doubtful(n, nodes) {
    const span = make("span", { class: "doubt", title: this.doubts[n].reason, "data-doubt": n }, ...nodes);
    span.normalize();
    return span;
  }

  button(marker, number) {
    const attributes = { type: "button", class: "cite", disabled: true, "data-marker": marker };
    const button = make("button", { ...attributes, "aria-label": `Source ${number}` }, number);
    const citation = this.citations.get(marker);
    if (citation) this.enable(button, citation);
    return button;
  }

  enable(button, citation) {
    button.disabled = false;
    button.onclick = () => this.open(citation, button);
  }
}

/** Make a node what a fresh one is, and keep all of it that is the same: focus and selection stay. Returns what stands there now. */
function patch(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE && fresh.nodeType === Node.TEXT_NODE) {
    if (fresh.data.startsWith(old.data)) old.appendData(fresh.data.slice(old.length));
    else old.data = fresh.data;
    return old;
  }
  if (!old.cloneNode(false).isEqualNode(fresh.cloneNode(false))) {
    old.replaceWith(fresh);
    return fresh;
  }
  const [had, has] = [[...old.childNodes], [...fresh.childNodes]];
  has.forEach((each, n) => (had[n] ? patch(had[n], each) : old.append(each)));
  had.slice(has.length).forEach((each) => each.remove());
  return old;
}
