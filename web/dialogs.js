/* What all dialogs have in common: they close by their buttons and outside of them, and give the focus back. */
import { byId } from "./dom.js";

/** Open a dialog over the page; the browser keeps the focus inside and closes it by Escape. */
export function openSheet(id) {
  const dialog = byId(id);
  if (dialog.open) return;
  const before = document.activeElement;
  dialog.addEventListener("close", () => before?.isConnected && before.focus(), { once: true });
  dialog.showModal();
}

/** Make the close buttons of all dialogs work. */
export function wireDialogs() {
  for (const dialog of document.querySelectorAll("dialog.sheet")) {
    for (const each of dialog.querySelectorAll("[data-close]")) each.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close(); // its backdrop
    });
  }
}

/** Ask before something is done that cannot be undone; resolves to whether it may be. */
export function confirmed(title, text) {
  const dialog = byId("confirm");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  return new Promise((resolve) => {
    const yes = byId("confirm-yes");
    const agree = () => dialog.close("yes");
    dialog.returnValue = "";
    yes.addEventListener("click", agree);
    dialog.addEventListener(
      "close",
      () => {
        yes.removeEventListener("click", agree);
        resolve(dialog.returnValue === "yes");
      },
      { once: true },
    );
    openSheet("confirm");
  });
}
