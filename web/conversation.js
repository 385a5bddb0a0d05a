/* The conversation that questions of this tab belong to, where the server keeps any. */
import { Problem, call } from "./api.js";
import { forget } from "./history.js";

const KEPT = "ragline-conversation"; // of this tab: it outlives a reload, and other tabs have their own
const OVER = [400, 404, 405, 410]; // no such conversation, or no more
let session = kept(); // null: not asked for yet; "": the server keeps none

/** The id of the conversation; "" where there is none yet. */
export function current() {
  return session ?? "";
}

/** What to send along with a question. Raises Problem where it is not worth asking either. */
export async function sessionFields(signal) {
  if (session === null) enter(await begun(signal));
  return session ? { session_id: session } : {};
}

/** The id of a new conversation; "" where none are kept, null where that may change: each question then stands alone. */
async function begun(signal) {
  try {
    return (await call("POST", "sessions", {}, signal)).session_id;
  } catch (problem) {
    if (problem.status === 404 || problem.status === 405) return "";
    if (problem.status >= 500) return null;
    throw problem;
  }
}

/** Have the next questions of this tab belong to the conversation of this id. */
export function enter(id) {
  session = id;
  try {
    if (id) sessionStorage.setItem(KEPT, id);
    else sessionStorage.removeItem(KEPT);
  } catch {
    // then it ends with the page
  }
}

/** The next question begins a new conversation; this one stays on the server. */
export function leave() {
  enter(session === "" ? "" : null);
}

/** What was said in a conversation, oldest first; null where it is over. Raises Problem where that cannot be known. */
export async function said(id) {
  try {
    return (await call("GET", path(id))).turns;
  } catch (problem) {
    if (!(problem instanceof Problem) || !OVER.includes(problem.status)) throw problem;
    forget(id);
    return null;
  }
}

/** Delete a conversation, on the server and here. Raises Problem. */
export async function remove(id) {
  try {
    await call("DELETE", path(id));
  } catch (problem) {
    if (!OVER.includes(problem.status)) throw problem;
  }
  forget(id);
  if (id === session) leave();
}

function path(id) {
  return `sessions/${encodeURIComponent(id)}`;
}

function kept() {
  try {
    return sessionStorage.getItem(KEPT);
  } catch {
    return null; // a browser may refuse to store anything
  }
}
