/* Makes elements; whatever comes from outside becomes text, never markup. */

/** The element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** A new element: `on…` attributes are listeners, true and false set and leave out, children are nodes or text. */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null && child !== false));
  return node;
}

/** A quiet button. */
export function button(label, onclick, attributes = {}) {
  return make("button", { type: "button", class: "quiet", onclick, ...attributes }, label);
}

/** Tell people who listen rather than look; one message takes the place of the one before. */
export function say(text) {
  byId("said").textContent = text;
}

/** "1 passage", "2 passages". */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** The first words of a text, of at most so many characters. */
export function beginning(text, most) {
  if (text.length <= most) return text;
  const cut = text.slice(0, most);
  return `${cut.slice(0, Math.max(cut.lastIndexOf(" "), most / 2)).trimEnd()}…`;
}

/** Whether whoever looks at this wants little movement. */
export function calm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
