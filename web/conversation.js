/* The conversation that questions belong to, where the server keeps any. */
import { call } from "./api.js";

let session = null; // null: not asked for yet; "": the server keeps none

/** What to send along with a question. Raises Problem where a session could not be had. */
export async function sessionFields(signal) {
  if (session === null) session = await begun(signal);
  return session ? { session_id: session } : {};
}

async function begun(signal) {
  try {
    const made = await call("POST", "sessions", {}, signal);
    return made.session_id ?? made.id ?? "";
  } catch (problem) {
    if (problem.status === 404 || problem.status === 405) return "";
    throw problem;
  }
}

/** Forget the conversation, here and on the server. */
export function leave() {
  const left = session;
  session = session === "" ? "" : null;
  if (left) call("DELETE", `sessions/${encodeURIComponent(left)}`).catch(() => {}); // it also ends by itself
}
