/* The field for questions: sends them, one at a time, and stops an answer. */
import { Problem, stream } from "./api.js";
import { current, leave, sessionFields } from "./conversation.js";
import { byId, say } from "./dom.js";
import { showEarlier } from "./earlier.js";
import { remember, watch } from "./history.js";
import { addFromElsewhere, welcome } from "./restore.js";
import { scopeFields } from "./scope.js";
import { closeSource } from "./source.js";
import { Turn } from "./turn.js";

const BROKEN = {
  title: "The answer broke off",
  detail: "The connection ended before the answer was whole. Nothing of it should be relied on; try again.",
};
const DRAFT = "ragline-draft";
let running = null; // the AbortController of the answer that is being written
let asked = ""; // its question
let late = false; // another tab changed something meanwhile

/** Stop the answer that is being written; whether there was one. */
export function stop() {
  if (!running) return false;
  running.abort();
  return true;
}

async function ask(query, fields) {
  if (running) return;
  const mine = (running = new AbortController());
  asked = query;
  busy(true);
  welcome(false);
  const turn = new Turn(query, fields.collection, () => ask(query, fields));
  turn.begin();
  try {
    const session = await sessionFields(mine.signal);
    await follow(turn, { query, ...fields, ...session, stream: true }, mine.signal);
  } catch (problem) {
    if (mine.signal.aborted) turn.stopped();
    else if (problem instanceof Problem) turn.fail(problem);
    else throw problem;
  } finally {
    running = null;
    busy(false);
    if (late) elsewhere(() => true);
  }
}

/** Another tab changed conversations; `touched(id)`: whether it changed this one. */
function elsewhere(touched) {
  if (!byId("welcome").hidden) showEarlier();
  late = Boolean(running) && (late || touched(current()));
  if (!running && touched(current())) addFromElsewhere();
}

async function follow(turn, body, signal) {
  for await (const event of stream("POST", "generate", body, signal)) {
    if (event.name === "error") throw told(event.data);
    if (!turn.take(event)) continue;
    if (body.session_id) remember(body.session_id, body.query);
    return;
  }
  throw new Problem(BROKEN);
}

/** The problem of an error event, which has no header to say when to come back. */
function told(body) {
  return new Problem({ ...body, retryAfterS: Math.ceil(body.retry_after_s ?? 0) });
}

function busy(is) {
  const held = document.activeElement === byId(is ? "send" : "stop");
  byId("send").hidden = is;
  byId("stop").hidden = !is;
  if (held) byId(is ? "stop" : "question").focus();
}

function send() {
  const field = byId("question");
  const query = field.value.trim();
  if (running) {
    say("An answer is being written; stop it first.");
    return;
  }
  if (!query) {
    say("Type a question first.");
    field.focus();
    return;
  }
  field.value = "";
  fit(field);
  ask(query, scopeFields());
}

/** As high as what stands in it; the style sheet says how high at most. */
function fit(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}

function startAnew() {
  stop();
  leave();
  closeSource();
  byId("turns").replaceChildren();
  byId("returning").replaceChildren();
  welcome(true);
  byId("question").focus();
  say("A new conversation. The one before is among the earlier ones, where it can be deleted.");
}

/** Keep what is being typed, or asked, for when the page is there again: what was half answered is not kept. */
function keepDraft() {
  try {
    sessionStorage.setItem(DRAFT, byId("question").value || (running ? asked : ""));
  } catch {
    // a browser may refuse to store anything
  }
}

function takeDraft(field) {
  try {
    field.value = sessionStorage.getItem(DRAFT) ?? "";
    sessionStorage.removeItem(DRAFT);
  } catch {
    return;
  }
  if (field.value) fit(field);
}

/** Make the field work. */
export function wireAsk() {
  const field = byId("question");
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return; // Enter may end a composition
    event.preventDefault();
    send();
  });
  field.addEventListener("input", () => fit(field));
  byId("stop").addEventListener("click", stop);
  byId("new").addEventListener("click", startAnew);
  addEventListener("pagehide", keepDraft);
  watch(elsewhere);
  takeDraft(field);
  field.focus();
}
