/* The conversations that this browser knows of: their ids and what they began with, the latest first. */
import { beginning } from "./dom.js";

const KEPT = "ragline-conversations";
const MOST = 10;
const TITLE = 200; // characters

/** `{id, title, at}` of each, `at` in milliseconds since the epoch; none where the browser refuses to store anything. */
export function conversations() {
  try {
    return parsed(localStorage.getItem(KEPT));
  } catch {
    return [];
  }
}

/** Put a conversation first; its title stays as it was. The one that is one too many is forgotten here, not on the server. */
export function remember(id, title) {
  const known = conversations();
  const was = known.find((each) => each.id === id);
  const first = { id, title: was?.title ?? beginning(title, TITLE), at: Date.now() };
  keep([first, ...known.filter((each) => each.id !== id)].slice(0, MOST));
}

/** Forget a conversation here. */
export function forget(id) {
  const known = conversations();
  if (known.some((each) => each.id === id)) keep(known.filter((each) => each.id !== id));
}

/** Have `changed(touched)` called when another tab went on with conversations or deleted some; `touched(id)`: this one? */
export function watch(changed) {
  addEventListener("storage", ({ key, oldValue, newValue }) => {
    if (key !== KEPT && key !== null) return;
    const [before, after] = [parsed(oldValue), parsed(newValue)];
    const at = (list, id) => list.find((each) => each.id === id)?.at;
    changed((id) => at(before, id) !== at(after, id));
  });
}

function parsed(text) {
  try {
    const found = JSON.parse(text ?? "[]");
    return Array.isArray(found) ? found.filter((each) => typeof each?.id === "string" && typeof each.title === "string") : [];
  } catch {
    return []; // nothing that this page wrote
  }
}

function keep(list) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(list));
  } catch {
    // then they are known until the page is left
  }
}
