/* The conditions on metadata: rows of field, operator and value, and the filter that they make. */
import { button, byId, make } from "./dom.js";

const OPERATORS = {
  is: ["is", (value) => value],
  $ne: ["is not", (value) => ({ $ne: value })],
  $in: ["is one of", (value) => ({ $in: value })],
  $nin: ["is none of", (value) => ({ $nin: value })],
  $gte: ["is at least", (value) => ({ $gte: value })],
  $lte: ["is at most", (value) => ({ $lte: value })],
  $gt: ["is over", (value) => ({ $gt: value })],
  $lt: ["is under", (value) => ({ $lt: value })],
  there: ["is there", () => ({ $exists: true })],
  absent: ["is not there", () => ({ $exists: false })],
};
const LISTS = ["$in", "$nin"];
const BARE = ["there", "absent"];

/** Add an empty row, and go to it. */
export function addCondition(changed) {
  const row = make("div", { class: "condition", role: "group", "aria-label": "Condition" });
  const field = make("input", { class: "field", "aria-label": "Field", placeholder: "field", spellcheck: "false" });
  field.setAttribute("list", "fields");
  const operator = make("select", { class: "operator", "aria-label": "Operator" });
  operator.append(...Object.entries(OPERATORS).map(([name, [label]]) => make("option", { value: name }, label)));
  const value = make("input", { class: "value", "aria-label": "Value", placeholder: "value", dir: "auto" });
  const remove = button("×", () => {
    row.remove();
    byId("add-condition").focus();
    changed();
  });
  remove.classList.add("round");
  remove.setAttribute("aria-label", "Remove this condition");
  operator.addEventListener("change", () => (value.hidden = BARE.includes(operator.value)));
  row.addEventListener("input", changed);
  row.append(field, operator, value, remove);
  byId("conditions").append(row);
  field.focus();
  changed();
}

/** The filter that the rows make; null where none is filled in. */
export function filterOf() {
  const conditions = [...byId("conditions").children].map(condition).filter(Boolean);
  if (!conditions.length) return null;
  return conditions.length === 1 ? conditions[0] : { $and: conditions };
}

function condition(row) {
  const field = row.querySelector(".field").value.trim();
  const operator = row.querySelector(".operator").value;
  const text = row.querySelector(".value").value.trim();
  if (!field || (!text && !BARE.includes(operator))) return null;
  const given = LISTS.includes(operator) ? listed(text) : typed(text);
  return { [field]: OPERATORS[operator][1](given) };
}

function listed(text) {
  return (text.match(/"(?:[^"\\]|\\.)*"|[^,]+/g) ?? []).map((each) => typed(each.trim())).filter((each) => each !== "");
}

/** 2024, true and null are what they are in JSON, "2024" is a text, and so is anything else. */
function typed(text) {
  if (!/^(-?\d+(\.\d+)?([eE][-+]?\d+)?|true|false|null|".*")$/s.test(text)) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text; // such as 007
  }
}
