/* The documents of a collection: what is in, what goes in, what is taken out. */
import { call, pathOf } from "./api.js";
import { confirmed, openSheet } from "./dialogs.js";
import { button, byId, count, make, say } from "./dom.js";
import { problemView } from "./problem.js";
import { collection, refreshCollections } from "./scope.js";
import { upload } from "./upload.js";

const PAGE = 50;
let after = "";
let asked = 0; // the list that was asked for last; earlier ones come too late

function chosen() {
  return byId("documents-collection").value.trim() || "default";
}

/** Open the list of the collection that is asked. */
export function openDocuments() {
  byId("documents-collection").value = collection();
  openSheet("documents");
  list();
}

async function list(from = "") {
  const mine = (asked += 1);
  const name = chosen();
  byId("documents-problem").replaceChildren();
  try {
    const path = `documents?limit=${PAGE}&collection=${encodeURIComponent(name)}&after=${encodeURIComponent(from)}`;
    const found = await call("GET", path);
    if (mine === asked) show(found, from);
  } catch (problem) {
    if (mine !== asked) return;
    byId("documents-list").replaceChildren();
    byId("documents-more").hidden = true;
    byId("documents-count").textContent = problem.status === 404 ? "This collection has no documents yet." : "";
    if (problem.status !== 404) byId("documents-problem").append(problemView(problem, () => list(from)));
  }
}

function show(found, from) {
  const place = byId("documents-list");
  if (!from) place.replaceChildren();
  place.append(...found.documents.map(row));
  after = found.next ?? "";
  byId("documents-more").hidden = !found.next;
  const number = place.children.length;
  const said = found.next ? `The first ${count(number, "document")}.` : `${count(number, "document")}.`;
  byId("documents-count").textContent = number ? said : "This collection has no documents yet.";
}

function row(each) {
  const metadata = Object.entries(each.metadata).map(([name, value]) => `${name}: ${[value].flat().join(", ")}`);
  const title = each.title || each.id;
  const about = [title === each.id ? "" : each.id, count(each.passages, "passage"), ...metadata].filter(Boolean).join(" · ");
  const node = make("li", {});
  const text = make(
    "span",
    { class: "row-text" },
    make("span", { class: "row-title", dir: "auto" }, title),
    make("span", { class: "soft", dir: "auto" }, about),
  );
  const away = button("Delete", () => remove(each.id, title, node));
  away.setAttribute("aria-label", `Delete ${title}`);
  node.append(text, away);
  return node;
}

async function remove(id, title, node) {
  const name = chosen();
  if (!(await confirmed("Delete this document?", `${title} is taken out of ${name} at once; no answer uses it after that.`))) return;
  byId("documents-problem").replaceChildren();
  try {
    await call("DELETE", `documents/${pathOf(id)}?collection=${encodeURIComponent(name)}`);
  } catch (problem) {
    byId("documents-problem").append(problemView(problem, () => remove(id, title, node)));
    return;
  }
  const next = node.nextElementSibling ?? node.previousElementSibling;
  node.remove();
  (next?.querySelector("button") ?? byId("documents-title")).focus();
  say(`${title} is deleted.`);
  changed(name);
}

/** Something came in or went out. */
function changed(name) {
  if (byId("documents").open && name === chosen()) list();
  refreshCollections(name).catch(() => {}); // the picker keeps what it has
}

function take(files) {
  if (!files.length) return;
  if (!byId("documents").open) openDocuments();
  upload(files, chosen(), changed);
}

/** Files that were dropped; folders have no bytes of their own. */
function dropped(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const whole = items.filter((item) => !item.webkitGetAsEntry?.()?.isDirectory);
  if (whole.length < items.length) {
    const problem = { title: "A folder was dropped", detail: "Open it and drop the files that it holds, or run ragline ingest." };
    if (!byId("documents").open) openDocuments();
    byId("documents-problem").replaceChildren(problemView(problem));
  }
  return whole.map((item) => item.getAsFile()).filter(Boolean);
}

/** Make the dialog and dropping work. */
export function wireDocuments() {
  const files = byId("files");
  byId("open-documents").addEventListener("click", openDocuments);
  byId("documents-collection").addEventListener("change", () => list());
  byId("documents-more").addEventListener("click", () => list(after));
  byId("pick").addEventListener("click", () => files.click());
  files.addEventListener("change", () => {
    take([...files.files]);
    files.value = "";
  });
  wireDropping();
}

function wireDropping() {
  const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0;
  const over = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dropping", depth > 0);
  };
  document.addEventListener("dragenter", (event) => holdsFiles(event) && over(1));
  document.addEventListener("dragleave", (event) => holdsFiles(event) && over(-1));
  document.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    over(-Infinity);
    take(dropped(event.dataTransfer));
  });
}
