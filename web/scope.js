/* Where a question looks and how: the collection, the search, the filter. */
import { call } from "./api.js";
import { byId, count, make } from "./dom.js";
import { addCondition, filterOf } from "./filter.js";

let wanted = ""; // the collection to choose when there is a list of them
const generations = new Map(); // by collection: what was uploaded here is to be seen by the next question

/** What the choices add to the body of a question. */
export function scopeFields() {
  const filter = filterOf();
  const generation = generations.get(collection());
  const unsupported = byId("unsupported").value;
  return {
    collection: collection(),
    mode: byId("mode").value,
    top_k: Math.max(1, Number(byId("top-k").value) || 5),
    ...(filter && { filter }),
    ...(unsupported && { unsupported }),
    ...(generation && { wait_for: generation }),
    ...(byId("explain").checked && { explain: true }),
  };
}

/** The collection that is asked. */
export function collection() {
  return byId("collection").value || "default";
}

/** Ask this collection from now on, if there is one of the name, maybe once it is known which there are. */
export function chooseCollection(name) {
  const select = byId("collection");
  const there = [...select.options].some((each) => each.value === name);
  if (there) select.value = name;
  wanted = there ? "" : name;
  said();
}

/** Answers from now on are made from no earlier generation of a collection. */
export function waitFor(name, generation) {
  generations.set(name, Math.max(generation ?? 0, generations.get(name) ?? 0));
}

/** Ask for the collections again; `choose` is taken where it is one of them. */
export async function refreshCollections(choose) {
  const { collections } = await call("GET", "collections");
  const names = [...new Set(["default", ...collections.map((each) => each.collection), choose].filter(Boolean))].sort();
  const select = byId("collection");
  const before = choose || wanted || select.value;
  wanted = "";
  select.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  select.value = names.includes(before) ? before : "default";
  byId("collections").replaceChildren(...names.map((name) => make("option", { value: name })));
  tell(collections);
  said();
}

function tell(collections) {
  const documents = collections.reduce((sum, each) => sum + each.documents, 0);
  const inside = collections.length > 1 ? ` in ${count(collections.length, "collection")}` : "";
  byId("stock").textContent = documents
    ? `${count(documents, "document")}${inside} to ask.`
    : "There are no documents yet: open Documents, or drop files anywhere on this page.";
}

/** What is chosen, in a few words, for when the choices are folded away. */
function said() {
  const mode = byId("mode").selectedOptions[0].textContent;
  const filter = filterOf();
  const conditions = filter ? (filter.$and?.length ?? 1) : 0;
  const parts = [collection(), `by ${mode}`, conditions ? count(conditions, "condition") : ""];
  byId("scope-said").textContent = parts.filter(Boolean).join(" · ");
}

/** The names that documents' metadata has, offered for the first part of a condition. */
async function offerFields() {
  const { documents } = await call("GET", `documents?limit=200&collection=${encodeURIComponent(collection())}`);
  const names = new Set(["document_id", "title"]);
  for (const each of documents) for (const name of Object.keys(each.metadata)) names.add(name);
  const list = document.getElementById("fields") ?? make("datalist", { id: "fields" });
  list.replaceChildren(...[...names].sort().map((name) => make("option", { value: name })));
  byId("scope").append(list);
}

/** Make the choices work. */
export function wireScope() {
  byId("scope").addEventListener("change", said);
  byId("add-condition").addEventListener("click", () => {
    addCondition(said);
    offerFields().catch(() => {}); // names are only offered; any can be typed
  });
  said();
}
