/* The text of an answer as it comes: citation markers become buttons that lead to their sources. */
import { make } from "./dom.js";
import { unitAt } from "./text.js";

const MARKER = /\[(\d{1,4})\]/g;
const BEGUN = /\[\d{0,4}$/; // may become a marker with the next token

export class AnswerText {
  /** Writes into `node`; `open(citation)` is called when one is asked for. */
  constructor(node, open) {
    this.node = node;
    this.open = open;
    this.text = "";
    this.shown = 0;
    this.citations = new Map();
  }

  /** The next token. */
  write(token) {
    this.text += token;
    const waiting = BEGUN.exec(this.text);
    this.show(waiting ? waiting.index : this.text.length, this.node);
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
    const focused = this.node.contains(document.activeElement) ? document.activeElement.dataset.marker : null;
    if (answer !== this.text || unsupported.length) this.rebuild(answer, unsupported);
    else this.show(this.text.length, this.node);
    for (const button of this.node.querySelectorAll("button.cite:disabled")) button.replaceWith(button.dataset.marker);
    if (focused) this.node.querySelector(`[data-marker="${CSS.escape(focused)}"]`)?.focus();
  }

  /** Show what was held back, of a stream that ended early. */
  end() {
    this.show(this.text.length, this.node);
  }

  rebuild(answer, unsupported) {
    this.node.replaceChildren();
    this.text = answer;
    this.shown = 0;
    const ordered = [...unsupported].sort((one, other) => one.start - other.start);
    for (const { start, end, reason } of ordered) {
      this.show(unitAt(answer, start), this.node);
      const doubt = make("span", { class: "doubt", title: reason });
      this.show(unitAt(answer, end), doubt);
      doubt.append(make("span", { class: "unseen" }, ` (not supported: ${reason})`));
      this.node.append(doubt);
    }
    this.show(answer.length, this.node);
  }

  /** Append the text up to `end` to `parent`. */
  show(end, parent) {
    const part = this.text.slice(this.shown, end);
    let from = 0;
    for (const match of part.matchAll(MARKER)) {
      append(parent, part.slice(from, match.index));
      parent.append(this.button(match[0], match[1]));
      from = match.index + match[0].length;
    }
    append(parent, part.slice(from));
    this.shown = Math.max(this.shown, end);
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

function append(parent, text) {
  if (!text) return;
  if (parent.lastChild?.nodeType === Node.TEXT_NODE) parent.lastChild.appendData(text);
  else parent.append(text);
}
