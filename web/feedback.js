/* Thumbs up or down for an answer, with a comment. */
import { call } from "./api.js";
import { button, make, say } from "./dom.js";
import { problemView } from "./problem.js";

let taken = true; // until the server says that it keeps no feedback

/** Thumbs for the answer of this id; null where the server is known to keep none. */
export function thumbs(answerId) {
  if (!taken) return null;
  const view = make("div", { class: "thumbs", role: "group", "aria-label": "Was this answer good?" });
  const rate = async (rating, comment, pressed) => {
    try {
      await call("POST", "feedback", { answer_id: answerId, rating, ...(comment && { comment }) });
    } catch (problem) {
      refused(view, problem, () => rate(rating, comment, pressed));
      return;
    }
    view.querySelector(".problem")?.remove();
    for (const each of view.querySelectorAll("[aria-pressed]")) each.setAttribute("aria-pressed", each === pressed);
    say("Thank you, noted.");
    if (comment === undefined) commentForm(view, (text) => rate(rating, text, pressed));
    else view.querySelector("form")?.replaceWith(make("span", { class: "soft" }, "Thank you, noted."));
  };
  const up = button(thumb(), () => rate("up", undefined, up), pressable("Good answer"));
  const down = button(thumb(), () => rate("down", undefined, down), pressable("Bad answer", "down"));
  view.append(up, down);
  return view;
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
  if (problem.status === 404 && /no \S*\/?feedback here/.test(problem.detail)) {
    taken = false;
    for (const each of document.querySelectorAll(".thumbs")) each.remove();
    say("This server keeps no feedback.");
    return;
  }
  view.querySelector(".problem")?.remove();
  view.append(problemView(problem, again));
}

function commentForm(view, send) {
  view.querySelector("form")?.remove();
  view.querySelector(":scope > .soft")?.remove();
  const field = make("input", { type: "text", maxlength: "2000", dir: "auto", placeholder: "Anything to add?" });
  field.setAttribute("aria-label", "Comment on this answer");
  const form = make("form", { class: "comment" }, field, make("button", { class: "quiet" }, "Send"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim()) send(field.value.trim());
  });
  view.append(form);
  field.focus();
}
