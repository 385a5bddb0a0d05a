/* A plain view of what `explain` tells: the time of each stage, then everything as it was sent. */
import { make } from "./dom.js";

/** The details of an answer; null where there is nothing to tell. */
export function explainView(body) {
  if (!body.explain) return null;
  const parts = Object.entries(body.explain).map(([name, value]) =>
    make("details", {}, make("summary", {}, name), make("pre", { tabindex: "0", dir: "auto" }, written(value))),
  );
  return make("details", { class: "explain" }, make("summary", {}, "How it came about"), times(body.timings_ms), ...parts);
}

function times(timings = {}) {
  const rows = Object.entries(timings).map(([stage, ms]) =>
    make("tr", {}, make("th", { scope: "row" }, stage), make("td", {}, `${ms.toFixed(1)} ms`)),
  );
  return make("table", {}, make("caption", {}, "Time by stage"), make("tbody", {}, ...rows));
}

function written(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}
