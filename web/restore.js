/* Brings back what was said: after a reload, from the list of earlier conversations, from another tab. */
import { current, enter, leave, said } from "./conversation.js";
import { button, byId, count, make, say } from "./dom.js";
import { showEarlier } from "./earlier.js";
import { conversations, remember } from "./history.js";
import { problemView } from "./problem.js";
import { chooseCollection } from "./scope.js";
import { Turn } from "./turn.js";

const AT_ONCE = 20; // turns that are drawn at a time
const OVER = "That conversation is over: the server does not keep it any more.";
const DELETED = "This conversation was deleted elsewhere. The next question begins a new one.";

/** Show the conversation that this tab is in, if any; `again()` is for when the server could not be reached. */
export async function restore(again) {
  const id = current();
  welcome(!id);
  document.documentElement.classList.remove("returning");
  if (!id) return;
  const turns = await fetched(id, again);
  if (!turns || id !== current()) return;
  if (!turns.length) return;
  chooseCollection(turns.at(-1).collection);
  draw(turns);
  if (!conversations().some((each) => each.id === id)) remember(id, turns[0].question);
  const stay = document.querySelector(".turn:not([data-answer])"); // a question was asked meanwhile
  if (!stay) byId("turns").lastElementChild.scrollIntoView({ block: "start", behavior: "auto" });
  say(`This conversation goes on after ${count(turns.length, "answer")}.`);
}

/** Go on with an earlier conversation in this tab. */
export async function goOn(id, again) {
  enter(id);
  byId("question").focus();
  await restore(again);
  if (current() !== id && !byId("welcome").hidden) showEarlier(OVER);
}

/** Show the welcome with the earlier conversations, or the turns of this one. */
export function welcome(is) {
  byId("welcome").hidden = !is;
  byId("new").hidden = is;
  if (is) showEarlier();
}

/** The turns; null where there are none to show, which the page then says unless it is only over. */
async function fetched(id, again) {
  const place = byId("returning");
  byId("turns").setAttribute("aria-busy", "true");
  place.replaceChildren(make("p", { class: "state soft" }, "Fetching what was said before …"));
  try {
    const turns = await said(id);
    place.replaceChildren();
    if (turns?.length || id !== current()) return turns;
    if (document.querySelector(".turn")) return null; // a question has taken its place meanwhile
    if (!turns) leave();
    welcome(true);
  } catch (problem) {
    if (id === current()) place.replaceChildren(make("p", {}, "What was said before cannot be shown now. You can go on asking."), problemView(problem, again));
  } finally {
    byId("turns").removeAttribute("aria-busy");
  }
  return null;
}

/** Draw the latest turns above what stands there, and a button for those before. */
function draw(turns) {
  const shown = new Set(answers());
  const unseen = turns.filter((each) => !shown.has(each.answer_id));
  const left = unseen.length - AT_ONCE;
  byId("turns").prepend(...unseen.slice(Math.max(0, left)).map(drawn));
  byId("returning").replaceChildren(...(left > 0 ? [more(unseen.slice(0, left))] : []));
}

function more(before) {
  return button(`Show what was said before (${count(before.length, "more answer")})`, () => {
    const first = byId("turns").firstElementChild;
    draw(before);
    say(`${count(Math.min(AT_ONCE, before.length), "earlier answer")}.`);
    first.previousElementSibling.scrollIntoView({ block: "start", behavior: "auto" });
    (byId("returning").querySelector("button") ?? byId("view")).focus({ preventScroll: true });
  });
}

function drawn(said) {
  const turn = new Turn(said.question, said.collection);
  turn.restore(said);
  return turn.node;
}

function answers() {
  return [...document.querySelectorAll(".turn[data-answer]")].map((node) => node.dataset.answer);
}

/** Another tab changed this conversation: show what it added to this one, or say that it is deleted. */
export async function addFromElsewhere() {
  const id = current();
  if (!id || !answers().length) return;
  const before = new Set(answers());
  const turns = await said(id).catch(() => []); // away: at the next change, or with a reload
  if (id !== current()) return;
  if (!turns) {
    leave();
    byId("turns").append(make("p", { class: "note warn" }, DELETED));
    say(DELETED);
    return;
  }
  const last = turns.findLastIndex((each) => before.has(each.answer_id)); // those before may not be drawn yet
  const added = last < 0 ? [] : turns.slice(last + 1).filter((each) => !answers().includes(each.answer_id));
  byId("turns").append(...added.map(drawn));
  if (added.length) say(`${count(added.length, "answer")} from another tab.`);
}
