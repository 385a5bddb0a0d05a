/* One question and its answer on the page, from the first event to the last. */
import { AnswerText } from "./answer.js";
import { button, byId, calm, count, make, say } from "./dom.js";
import { explainView } from "./explain.js";
import { thumbs } from "./feedback.js";
import { imprint, notes } from "./notes.js";
import { problemView } from "./problem.js";
import { openSource } from "./source.js";

export class Turn {
  /** `again()` asks the same once more. */
  constructor(question, collection, again) {
    this.collection = collection;
    this.again = again;
    this.titles = new Map();
    this.citations = [];
    this.state = make("p", { class: "state soft" }, "Searching …");
    this.text = make("div", { class: "answer", dir: "auto", "aria-busy": "true" });
    this.foot = make("div", { class: "foot" });
    this.answer = new AnswerText(this.text, (citation, from) => this.open(citation, from));
    const heading = make("h2", { class: "question", dir: "auto" }, question);
    this.node = make("article", { class: "turn", "data-state": "searching" }, heading, this.state, this.text, this.foot);
  }

  /** Put it at the end of the page, where it is now asked. */
  begin() {
    byId("turns").append(this.node);
    this.node.scrollIntoView({ block: "start", behavior: calm() ? "auto" : "smooth" });
    say("Searching.");
  }

  /** Take an event of the stream; true for the last one of a whole answer. */
  take({ name, data }) {
    if (name === "passages") this.passages(data.passages);
    else if (name === "token") this.token(data.text);
    else if (name === "citation") this.cite(data);
    else if (name === "done") this.done(data);
    return name === "done";
  }

  passages(found) {
    for (const passage of found) this.titles.set(passage.id, passage.title);
    this.found = found;
    this.state.textContent = `Read ${count(found.length, "passage")}, writing …`;
  }

  token(text) {
    if (this.node.dataset.state === "searching") {
      this.node.dataset.state = "writing";
      say("Writing the answer.");
    }
    this.answer.write(text);
  }

  cite(citation) {
    this.citations.push(citation);
    this.answer.cite(citation);
  }

  done(body) {
    const said = this.show(body);
    const sources = body.citations.length ? ` ${count(body.citations.length, "source")}.` : "";
    say(`Answer: ${this.answer.spoken()}${sources} ${said.map(({ text }) => text).join(" ")}`);
  }

  /** Show an answer that was given before, as the conversation keeps it; nobody is told. */
  restore(kept) {
    for (const { passage_id, title } of kept.citations) this.titles.set(passage_id, title);
    this.show({ ...kept, id: kept.answer_id });
    this.node.dataset.restored = "";
  }

  /** Show the whole answer; returns what there is to say of it. */
  show(body) {
    this.citations = body.citations;
    this.node.dataset.answer = body.id;
    this.answer.finish(body);
    this.settle(body.abstained ? "abstained" : "done");
    this.state.remove();
    const said = notes(body);
    this.foot.append(
      ...said.map(({ kind, text }) => make("p", { class: `note ${kind}`, dir: "auto" }, text)),
      ...[this.sources(), this.passageList(), explainView(body), this.actions(body)].filter(Boolean),
    );
    return said;
  }

  /** The answer broke off: what there is of it is shown as incomplete. */
  fail(problem) {
    this.answer.end();
    this.settle("failed");
    this.state.textContent = this.text.textContent ? "Incomplete: the answer broke off here." : "";
    this.foot.append(problemView(problem, () => this.retry()));
  }

  /** Whoever asked has stopped it. */
  stopped() {
    this.answer.end();
    this.settle("stopped");
    this.state.textContent = "Stopped: what stands here is not the whole answer.";
    this.foot.append(button("Ask again", () => this.retry()));
    say("Stopped.");
  }

  retry() {
    this.node.remove();
    this.again();
  }

  settle(state) {
    this.node.dataset.state = state;
    this.text.removeAttribute("aria-busy");
  }

  open(citation, from) {
    const at = this.citations.findIndex((each) => each.marker === citation.marker);
    const { collection, titles } = this;
    if (at >= 0) openSource([...this.citations], at, { collection, titles, from });
  }

  sources() {
    if (!this.citations.length) return null;
    const rows = this.citations.map((citation) => {
      const title = this.titles.get(citation.passage_id) || citation.document_id;
      const page = citation.page == null ? "" : `, page ${citation.page}`;
      const open = make(
        "button",
        { type: "button", class: "source-row", onclick: (event) => this.open(citation, event.currentTarget) },
        make("span", { class: "number" }, citation.marker.replace(/\D/g, "")),
        make("span", { class: "row-text" }, make("span", { class: "row-title", dir: "auto" }, title + page), make("q", { dir: "auto" }, citation.quote)),
      );
      return make("li", {}, open);
    });
    return make("ol", { class: "sources", "aria-label": "Sources" }, ...rows);
  }

  passageList() {
    if (!this.found?.length) return null;
    const rows = this.found.map((passage) =>
      make(
        "li",
        {},
        make(
          "p",
          { class: "passage-head" },
          make("span", { class: "row-title", dir: "auto" }, passage.title || passage.document_id),
          passage.page ? ` page ${passage.page}` : "",
          make("meter", { min: "0", max: "1", value: Math.min(1, Math.max(0, passage.score)), "aria-hidden": "true" }),
          make("span", { class: "score" }, make("span", { class: "unseen" }, "score "), passage.score.toFixed(2)),
        ),
        make("p", { class: "passage-text", dir: "auto" }, passage.text),
      ),
    );
    const summary = make("summary", {}, `${count(this.found.length, "passage")} that were read`);
    return make("details", { class: "passages" }, summary, make("ol", {}, ...rows));
  }

  actions(body) {
    const copy = button("Copy", () => this.copy(body, copy));
    return make("div", { class: "actions" }, copy, thumbs(body.id), make("span", { class: "imprint soft" }, imprint(body)));
  }

  async copy(body, from) {
    const sources = body.citations.map(({ marker, quote, passage_id, document_id }) => {
      return `${marker} ${this.titles.get(passage_id) || document_id}: “${quote}”`;
    });
    const copied = await toClipboard([body.answer, ...(sources.length ? ["", ...sources] : [])].join("\n"));
    from.textContent = copied ? "Copied" : "The browser does not allow it";
    say(from.textContent);
    setTimeout(() => (from.textContent = "Copy"), 2000);
  }
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // not over plain HTTP from another machine: the old way works there
  }
  const before = document.activeElement;
  const field = make("textarea", { class: "unseen", "aria-hidden": "true" });
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  before?.focus();
  return copied;
}
