/* The list of earlier conversations: go on with one, or delete it. */
import { remove } from "./conversation.js";
import { confirmed } from "./dialogs.js";
import { beginning, button, byId, make, say } from "./dom.js";
import { conversations } from "./history.js";
import { problemView } from "./problem.js";

let open = () => {}; // goes on with the conversation of an id

/** Show what there is; with `told`, a sentence on what became of one. */
export function showEarlier(told = "") {
  const known = conversations();
  byId("earlier-list").replaceChildren(...known.map(row));
  byId("earlier").hidden = !known.length && !told;
  byId("earlier-hint").hidden = !known.length;
  byId("earlier-told").replaceChildren(...(told ? [make("p", { class: "note" }, told)] : []));
  if (told) say(told);
}

function row({ id, title, at }) {
  const when = new Date(at).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
  const text = [make("span", { class: "row-title", dir: "auto" }, title), make("span", { class: "soft" }, when)];
  const into = make("button", { type: "button", class: "earlier-row row-text", onclick: () => open(id) }, ...text);
  const away = button("Delete", () => discard(id, title), { "aria-label": `Delete the conversation ${title}` });
  return make("li", {}, into, away);
}

async function discard(id, title) {
  const text = `The conversation that began with “${beginning(title, 80)}” is deleted here and on the server, for good.`;
  if (!(await confirmed("Delete this conversation?", text))) return;
  try {
    await remove(id);
  } catch (problem) {
    byId("earlier-told").replaceChildren(problemView(problem, () => discard(id, title)));
    return;
  }
  showEarlier();
  say("The conversation is deleted.");
  (byId("earlier-list").querySelector("button") ?? byId("question")).focus();
}

/** Make the list work; `opened(id)` goes on with a conversation. */
export function wireEarlier(opened) {
  open = opened;
  showEarlier();
}
