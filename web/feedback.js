/* Thumbs up or down for an answer, with a comment. */
import { call } from "./api.js";
import { button, make, say } from "./dom.js";
import { problemView } from "./problem.js";

const KEPT = "ragline-rated";
const MOST = 200;
let taken = true; // until the server says that it keeps no feedback

/** Thumbs for the answer of this id; null where the server is known to keep none. */
export function thumbs(answerId) {
  if (!taken) return null;
  if (rated().includes(answerId)) return make("span", { class: "soft thumbs" }, "You have rated this answer.");
  const view = make("div", { class: "thumbs", role: "group", "aria-label": "Was this answer good?" });
  const up = button(thumb(), () => choose(view, up, answerId, "up"), pressable("Good answer"));
  const down = button(thumb(), () => choose(view, down, answerId, "down"), pressable("Bad answer", "down"));
  view.append(up, down);
  return view;
}

/** The thumb that is meant, and room for a comment; nothing is sent yet, so that each opinion counts once. */
function choose(view, chosen, answerId, rating) {
  press(view, chosen);
  view.querySelector("form")?.remove();
  const comment = field("Comment on this answer", rating === "up" ? "Anything to add?" : "What is wrong with it?");
  const corrected = rating === "down" && field("What it should have said", "What should it have said?");
  const send = make("button", { class: "quiet" }, "Send");
  const form = make("form", { class: "comment" }, comment, corrected, send);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const more = { comment: comment.value.trim(), corrected_answer: (corrected && corrected.value.trim()) || "" };
    rate(view, { answer_id: answerId, rating, ...more });
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    form.remove();
    press(view, null);
    chosen.focus();
  });
  view.append(form);
  comment.focus();
}

async function rate(view, opinion) {
  const given = Object.fromEntries(Object.entries(opinion).filter(([, value]) => value));
  view.querySelector(".problem")?.remove();
  try {
    await call("POST", "feedback", given);
  } catch (problem) {
    refused(view, problem, () => rate(view, opinion));
    return;
  }
  remember(opinion.answer_id);
  for (const each of view.querySelectorAll("[aria-pressed]")) each.disabled = true;
  const thanks = make("span", { class: "soft", tabindex: "-1" }, "Thank you, noted.");
  view.querySelector("form").replaceWith(thanks);
  thanks.focus();
  say(thanks.textContent);
}

/** The answers that were rated in this browser: when they are shown again, nobody is asked, and counted, twice. */
function rated() {
  try {
    const found = JSON.parse(localStorage.getItem(KEPT) ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return []; // nothing that this page wrote, or a browser that stores nothing
  }
}

function remember(answerId) {
  try {
    localStorage.setItem(KEPT, JSON.stringify([answerId, ...rated()].slice(0, MOST)));
  } catch {
    // it holds until the page is left
  }
}

function press(view, chosen) {
  for (const each of view.querySelectorAll("[aria-pressed]")) each.setAttribute("aria-pressed", each === chosen);
}

function field(label, placeholder) {
  return make("input", { type: "text", maxlength: "2000", dir: "auto", placeholder, "aria-label": label });
}

function pressable(label, turned = "") {
  return { class: `quiet round ${turned}`, "aria-label": label, "aria-pressed": "false", title: label };
}

function thumb() {
  const space = "http://www.w3.org/2000/svg";
  const icon = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  icon.setAttribute("viewBox", "0 0 24 24");
  icon.setAttribute("aria-hidden", "true");
  path.setAttribute("d", "M7 11v9H4v-9zM7 11l4-8c1.7 0 2.6 1.3 2.3 2.8L12.6 9H19c1.2 0 2 1 1.8 2.2l-1.3 7A2.2 2.2 0 0 1 17.3 20H7");
  icon.append(path);
  return icon;
}

function refused(view, problem, again) {
  if (problem.status === 404 && /GENERATOR_RECORDS_URL|no \S*feedback here/.test(problem.detail)) {
    taken = false;
    for (const each of document.querySelectorAll(".thumbs")) each.remove();
    say("This server keeps no feedback.");
    return;
  }
  view.querySelector(".problem")?.remove();
  view.append(problemView(problem, again));
}
