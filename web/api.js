/* Talks to the REST routes beside this page; whatever fails becomes a Problem. */
import { events } from "./events.js";

/** What went wrong: the server's problem document (RFC 9457), or one of the same shape. */
export class Problem extends Error {
  constructor({ title = "It failed", detail = "", status = 0, errors = [], instance = "", retryAfterS = 0 }) {
    super(detail || title);
    Object.assign(this, { title, detail, status, errors, instance, retryAfterS });
  }
}

export const AWAY = {
  title: "No connection",
  detail: "The server could not be reached. See that it runs and that you are online, then try again.",
};

/** Ask for JSON, null where there is none to have: `call("GET", "collections")`. Raises Problem, or AbortError where the signal said so. */
export async function call(method, path, body, signal) {
  const response = await request(method, path, body, signal, "application/json");
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch (error) {
    throw connection(error);
  }
}

/** The events of a streamed answer. Raises Problem, or AbortError where the signal said so. */
export async function* stream(method, path, body, signal) {
  const response = await request(method, path, body, signal, "text/event-stream");
  try {
    yield* events(response);
  } catch (error) {
    throw connection(error);
  }
}

async function request(method, path, body, signal, accept) {
  const headers = { Accept: accept };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body), cache: "no-store" });
  } catch (error) {
    throw connection(error);
  }
  if (!response.ok) throw problem(response.status, await response.text(), response.headers.get("Retry-After"));
  return response;
}

function connection(error) {
  return error.name === "AbortError" || error instanceof Problem ? error : new Problem(AWAY);
}

/** The problem that a response holds, or one made of its status where it holds something else. */
export function problem(status, text, retryAfter) {
  let body = {};
  try {
    body = JSON.parse(text);
  } catch {
    body = { detail: `The server answered with status ${status} and no explanation.` };
  }
  return new Problem({ ...body, status, retryAfterS: seconds(retryAfter) });
}

function seconds(retryAfter) {
  if (!retryAfter) return 0;
  const given = Number(retryAfter);
  const left = Number.isNaN(given) ? (Date.parse(retryAfter) - Date.now()) / 1000 : given;
  return Math.max(0, Math.ceil(left || 0));
}

/** A document's id as a part of a path; it may hold slashes, which stay. */
export function pathOf(id) {
  return id.split("/").map(encodeURIComponent).join("/");
}
