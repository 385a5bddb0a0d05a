/* The conversation that questions belong to, where the server keeps any. */
import { call } from "./api.js";

let session = null; // null: not asked for yet; "": the server keeps none

/** What to send along with a question. Raises Problem where it is not worth asking either. */
export async function sessionFields(signal) {
  if (session === null) session = await begun(signal);
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

/** Forget the conversation, here and on the server. */
export function leave() {
  const left = session;
  session = session === "" ? "" : null;
  if (left) call("DELETE", `sessions/${encodeURIComponent(left)}`).catch(() => {}); // it also ends by itself
}
