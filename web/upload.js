/* Sends files and follows each until it can be asked. */
import { AWAY, Problem, call, problem, stream } from "./api.js";
import { button, byId, make, say } from "./dom.js";
import { waitFor } from "./scope.js";

const AT_ONCE = 2;
const ENDED = ["done", "failed", "cancelled"];
const waiting = [];
let active = 0;

/** Queue files for a collection; `changed()` is called whenever one has come in. */
export function upload(files, collection, changed) {
  for (const file of files) waiting.push(new Upload(file, collection, changed));
  next();
}

function next() {
  while (active < AT_ONCE && waiting.length) {
    active += 1;
    waiting
      .shift()
      .run()
      .finally(() => {
        active -= 1;
        next();
      });
  }
}

class Upload {
  constructor(file, collection, changed) {
    Object.assign(this, { file, collection, changed, ended: false, job: "" });
    this.aborting = new AbortController();
    this.bar = make("progress", { max: "1", value: "0", "aria-label": `Upload of ${file.name}` });
    this.state = make("span", { class: "upload-state" }, "waiting");
    this.button = button("Cancel", () => (this.ended ? this.node.remove() : this.cancel()));
    this.button.setAttribute("aria-label", `Cancel ${file.name}`);
    const name = make("span", { class: "row-title", dir: "auto" }, file.name);
    this.node = make("li", { "data-state": "waiting" }, name, this.bar, this.state, this.button);
    byId("uploads").prepend(this.node);
  }

  async run() {
    if (this.ended) return;
    try {
      const accepted = await this.patiently();
      this.job = accepted.job_id;
      await this.follow();
    } catch (error) {
      if (this.ended) return;
      if (this.aborting.signal.aborted) this.end("cancelled", "cancelled");
      else if (error instanceof Problem) this.end("failed", told(error));
      else throw error;
    }
  }

  /** Send it, and again after the wait that a busy server asks for. */
  async patiently() {
    for (;;) {
      try {
        return await this.send();
      } catch (error) {
        if (!(error instanceof Problem) || !error.retryAfterS || ![429, 503].includes(error.status)) throw error;
        await this.pause(error.retryAfterS);
      }
    }
  }

  pause(seconds) {
    this.show("waiting", `the server is busy, trying again in ${seconds} s`);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, seconds * 1000);
      this.aborting.signal.addEventListener("abort", () => (clearTimeout(timer), reject(this.aborting.signal.reason)));
    });
  }

  /** fetch does not tell how much of a body has gone out; XMLHttpRequest does. */
  send() {
    const form = new FormData();
    form.append("collection", this.collection);
    form.append("files", this.file, this.file.name);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", "documents");
      request.upload.onprogress = ({ loaded, total }) => this.sent(loaded / total);
      request.onload = () => {
        if (request.status < 400) resolve(JSON.parse(request.responseText));
        else reject(problem(request.status, request.responseText, request.getResponseHeader("Retry-After")));
      };
      request.onerror = () => reject(new Problem(AWAY));
      request.onabort = () => reject(this.aborting.signal.reason);
      this.aborting.signal.addEventListener("abort", () => request.abort());
      this.sent(0);
      request.send(form);
    });
  }

  sent(part) {
    this.bar.value = part / 2; // the other half is the work of the server
    this.show("sending", part < 1 ? `sending, ${Math.floor(part * 100)}%` : "sent");
  }

  /** Follow its job; a stream that breaks off is begun again. */
  async follow() {
    this.show("working", "being read");
    this.bar.removeAttribute("value");
    const path = `jobs/${encodeURIComponent(this.job)}`;
    for (let job = null; ; job = await call("GET", path, undefined, this.aborting.signal)) {
      if (job && ENDED.includes(job.state)) return this.finish(job);
      for await (const { name, data } of stream("GET", `${path}/events`, undefined, this.aborting.signal)) {
        if (ENDED.includes(name)) return this.finish(data);
        if (name === "error") throw new Problem(data);
      }
    }
  }

  finish(job) {
    const reason = job.errors.map((each) => each.reason).join(" ");
    if (job.state === "cancelled") this.end("cancelled", "cancelled");
    else if (job.failed || job.state === "failed") this.end("failed", reason || "it could not be read");
    else this.end("done", job.unchanged ? "was in already, unchanged" : "can be asked now");
    if (job.generation) waitFor(this.collection, job.generation);
    this.changed(this.collection);
  }

  cancel() {
    this.aborting.abort(new DOMException("cancelled", "AbortError"));
    if (this.job) call("DELETE", `jobs/${encodeURIComponent(this.job)}`).catch(() => {}); // it may have ended
    this.end("cancelled", "cancelled");
  }

  show(state, text) {
    this.node.dataset.state = state;
    this.state.textContent = text;
  }

  end(state, text) {
    this.ended = true;
    this.show(state, text);
    this.bar.remove();
    this.button.textContent = "Dismiss";
    this.button.setAttribute("aria-label", `Dismiss ${this.file.name}`);
    say(`${this.file.name}: ${text}`);
  }
}

function told({ title, detail, errors }) {
  const fields = (errors ?? []).map((each) => each.field).filter(Boolean);
  return `${title}: ${detail}${fields.length ? ` (${fields.join(", ")})` : ""}`;
}
