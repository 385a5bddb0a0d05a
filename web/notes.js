/* Says in plain words how an answer came about and what is wrong with it. */
import { count } from "./dom.js";

const AWAY = {
  dense: "Search by meaning was away: passages were found by their words alone.",
  sparse: "Search by words was away: passages were found by their meaning alone.",
  rerank: "The reranker was away: passages stand in the order of the search.",
  llm: "The language model was away: these are sentences of the passages themselves.",
};
const DID = { flag: "noticed", mask: "masked", refuse: "refused" };
const WHERE = { question: "in the question", passages: "in the passages", answer: "in the answer" };

/** What there is to say of an answer: `{kind: "warn" | "plain", text}` each. */
export function notes(body) {
  const said = [];
  const warn = (text) => said.push({ kind: "warn", text });
  const plain = (text) => said.push({ kind: "plain", text });
  if (body.abstained) warn("No answer: the documents that were searched do not say it.");
  for (const name of body.degraded ?? []) warn(away(name));
  if (body.finish === "length") warn("Cut short: the answer reached the most tokens that it may have.");
  const unsupported = (body.unsupported ?? []).length;
  if (unsupported) warn(`${count(unsupported, "part")} of this answer, underlined, no passage supports.`);
  for (const finding of body.findings ?? []) warn(found(finding));
  if (body.collection === "" && /\[\d+\]/.test(body.answer)) plain("The sources of this answer were not kept.");
  if (body.query) plain(`Searched for “${body.query}”.`);
  if (body.cached) plain(kept(body));
  else if (body.like) plain(`An answer that was first given to “${body.like}”.`);
  return said;
}

function away(name) {
  const other = /^rerank:(.+)$/.exec(name);
  if (other) return `The chosen reranker was away: ${other[1]} ordered the passages.`;
  return AWAY[name] ?? `Not everything worked: ${name} was away.`;
}

function found({ guard, stage, action, detail, count: number }) {
  const times = number > 1 ? `, ${number} times` : "";
  return `The guard ${guard} ${DID[action] ?? action} ${detail}${times} ${WHERE[stage] ?? stage}.`;
}

function kept(body) {
  if (body.like) return `A kept answer, first given to “${body.like}”. The documents have not changed since.`;
  return "A kept answer. The documents have not changed since it was written.";
}

/** One line on what made the answer. */
export function imprint(body) {
  const usage = body.usage ?? {};
  const tokens = (usage.prompt_tokens ?? 0) + (usage.completion_tokens ?? 0);
  const ms = body.timings_ms?.total;
  return [
    body.model === "extractive" ? "sentences of the documents" : body.model,
    body.prompt,
    body.asked_at && new Date(body.asked_at * 1000).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" }),
    ms != null && (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`),
    tokens > 0 && count(tokens, "token"),
    usage.cost > 0 && `cost ${Number(usage.cost.toPrecision(3))}`,
  ]
    .filter(Boolean)
    .join(" · ");
}
