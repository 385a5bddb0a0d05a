"""Files that go in through the page, and how far each is."""

from tests.web.browser import Browser

STATES = """
window.states = {};
new MutationObserver(() => {
  for (const row of document.querySelectorAll("#uploads li")) {
    const name = row.querySelector(".row-title").textContent;
    const seen = (window.states[name] ??= []);
    if (seen.at(-1) !== row.dataset.state) seen.push(row.dataset.state);
  }
}).observe(document.getElementById("uploads"), {subtree: true, childList: true, attributes: true});
"""
DROP = """
const transfer = new DataTransfer();
for (const [name, text] of Object.entries(arguments[0])) transfer.items.add(new File([text], name));
for (const kind of ["dragenter", "dragover", "drop"]) {
  document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
}
"""


def state(page: Browser, name: str) -> str:
    """How far an upload is."""
    found: str = page.run(
        "const row = [...document.querySelectorAll('#uploads li')]"
        ".find((each) => each.querySelector('.row-title').textContent === arguments[0]);"
        "return row ? `${row.dataset.state}: ${row.querySelector('.upload-state').textContent}` : ''",
        name,
    )
    return found


def ended(page: Browser, name: str) -> bool:
    """Whether it can be asked."""
    return state(page, name).startswith("done")
