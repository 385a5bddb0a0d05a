/* Puts the parts of the page together. */
import { wireAsk } from "./ask.js";
import { wireDialogs } from "./dialogs.js";
import { wireDocuments } from "./documents.js";
import { byId } from "./dom.js";
import { wireEarlier } from "./earlier.js";
import { wireKeys } from "./keys.js";
import { problemView } from "./problem.js";
import { goOn, restore } from "./restore.js";
import { refreshCollections, wireScope } from "./scope.js";
import { wireSource } from "./source.js";

function begin() {
  byId("stock").replaceChildren();
  refreshCollections().catch((problem) => byId("stock").replaceChildren(problemView(problem, begin)));
}

function resume() {
  begin();
  return restore(resume);
}

wireDialogs();
wireScope();
wireSource();
wireDocuments();
wireKeys();
wireAsk();
wireEarlier((id) => goOn(id, resume));
resume();
