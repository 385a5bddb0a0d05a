/* Shows a problem: what is wrong, in which field, and the way out. */
import { button, make, say } from "./dom.js";

/** The problem as an element. With `again` there is a button for it, after the wait that the server asked for. */
export function problemView(problem, again) {
  const fields = (problem.errors ?? []).filter((each) => each.field);
  const view = make(
    "div",
    { class: "problem", role: "group", "aria-label": "Problem" },
    make("strong", {}, problem.title),
    problem.detail && make("p", { dir: "auto" }, problem.detail),
    fields.length > 0 && make("ul", {}, ...fields.map(fieldView)),
    again && againButton(problem, again),
    problem.instance && make("p", { class: "hint" }, `Request ${problem.instance}, as in the server's log`),
  );
  say(`${problem.title}. ${problem.detail}`);
  return view;
}

function fieldView({ field, detail }) {
  return make("li", {}, make("code", {}, field), " ", detail);
}

function againButton(problem, again) {
  const node = button("Try again", () => again());
  let left = problem.retryAfterS ?? 0;
  if (!left) return node;
  node.disabled = true;
  const tell = () => {
    node.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    node.disabled = left > 0;
    left -= 1;
    if (left < 0 || !document.contains(node)) clearInterval(timer);
  };
  const timer = setInterval(tell, 1000);
  node.textContent = `Try again in ${left} s`;
  return node;
}
