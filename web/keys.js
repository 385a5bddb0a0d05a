/* The shortcuts: / and ?, which can be switched off, and Escape. */
import { stop } from "./ask.js";
import { openSheet } from "./dialogs.js";
import { byId } from "./dom.js";
import { closeSource } from "./source.js";

const KEPT = "ragline-keys";

function typing(target) {
  return target instanceof Element && Boolean(target.closest("input, textarea, select, [contenteditable]"));
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
  if (document.querySelector("dialog:modal")) return; // Escape closes it, and nothing else is meant
  if (event.key === "Escape") {
    if (closeSource() || stop()) event.preventDefault();
  } else if (byId("keys-on").checked && !typing(event.target)) {
    if (event.key === "/") byId("question").focus();
    else if (event.key === "?") openSheet("keys");
    else return;
    event.preventDefault();
  }
}

/** Make the shortcuts work. */
export function wireKeys() {
  const on = byId("keys-on");
  try {
    on.checked = localStorage.getItem(KEPT) !== "off";
    on.addEventListener("change", () => localStorage.setItem(KEPT, on.checked ? "on" : "off"));
  } catch {
    // a browser may refuse to store anything; the choice holds until the page is left
  }
  byId("open-keys").addEventListener("click", () => openSheet("keys"));
  document.addEventListener("keydown", pressed);
}
