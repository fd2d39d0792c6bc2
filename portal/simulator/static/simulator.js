// The pages work without this. With it: a keypad, copying, and moving parts fetched every two seconds.
"use strict";

const liveFrom = document.body.dataset.liveFrom;

function enhance(root) {
  for (const pad of root.querySelectorAll("[data-keypad]")) {
    pad.hidden = false;
    const plain = pad.parentElement.querySelector(".plain-send");
    if (plain) plain.hidden = true;
  }
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
}

document.addEventListener("click", async (event) => {
  const key = event.target.closest("[data-key]");
  if (key) {
    const field = document.getElementById(key.closest("[data-keypad]").dataset.keypad);
    const typed = key.dataset.key;
    field.value = typed === "clear" ? field.value.slice(0, -1) : (field.value + typed).slice(0, 4);
    return;
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    await navigator.clipboard.writeText(copy.parentElement.querySelector(".text").textContent);
    copy.textContent = "Copied";
  }
});

function replace(part, html) {
  const open = new Set([...part.querySelectorAll("details[open]:not([data-newest])")].map((entry) => entry.dataset.id));
  part.innerHTML = html;
  for (const entry of part.querySelectorAll("details")) if (open.has(entry.dataset.id)) entry.open = true;
  enhance(part);
}

async function refresh() {
  if (!document.hidden) {
    try {
      const answer = await fetch(liveFrom, { headers: { Accept: "application/json" } });
      const parts = answer.ok ? await answer.json() : {};
      for (const [name, { version, html }] of Object.entries(parts)) {
        const part = document.querySelector(`[data-part="${name}"]`);
        if (part && part.dataset.version !== version) {
          part.dataset.version = version;
          replace(part, html);
        }
      }
    } catch {
      // The simulator is being restarted: the next round will find it.
    }
  }
  setTimeout(refresh, 2000);
}

enhance(document);
if (liveFrom) setTimeout(refresh, 500);
