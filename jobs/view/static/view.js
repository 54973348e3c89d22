// Keys, the marking of two episodes, and the table that follows a run.
"use strict";

const MOST_MARKED = 2;
const ASK_MS = 2000;
let at = -1;

const places = () => [...document.querySelectorAll(".rows tbody tr, .turn")];
const marks = () => [...document.querySelectorAll(".mark:checked")];

function go(step) {
  const all = places();
  if (!all.length) return;
  all[at]?.classList.remove("at");
  at = Math.min(all.length - 1, Math.max(0, at + step));
  const place = all[at];
  if (place.matches("tr")) place.classList.add("at");
  (place.querySelector(".open") ?? place).focus({ preventScroll: true });
  place.scrollIntoView({ block: "nearest" });
}

function noteMarks() {
  const button = document.querySelector("#compare button");
  if (!button) return;
  const marked = marks();
  button.disabled = marked.length !== MOST_MARKED;
  document.querySelectorAll(".mark:not(:checked)").forEach((box) => {
    box.disabled = marked.length >= MOST_MARKED;
  });
}

function compare(event) {
  event.preventDefault();
  const marked = marks();
  if (marked.length !== MOST_MARKED) return;
  const run = document.querySelector("#compare input[name=run]").value;
  const asked = new URLSearchParams({ run, a: marked[0].value, b: marked[1].value });
  location.assign(`/compare?${asked}`);
}

const KEYS = {
  j: () => go(1),
  k: () => go(-1),
  n: () => document.querySelector("a[rel=next]")?.click(),
  p: () => document.querySelector("a[rel=prev]")?.click(),
  x: () => places()[at]?.querySelector(".mark")?.click(),
  c: () => document.querySelector("#compare")?.requestSubmit(),
  "/": () => document.querySelector("#search")?.focus(),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not(.mark), select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
document.addEventListener("change", noteMarks);
document.querySelector("#compare")?.addEventListener("submit", compare);
noteMarks();

// The table follows the run, but for a reader who has marked something in it.
const live = document.querySelector("#live");
if (live) {
  let before = null;
  const follow = async () => {
    try {
      const state = await (await fetch(live.dataset.state)).text();
      if (before !== null && state !== before && !marks().length) {
        const page = new DOMParser().parseFromString(
          await (await fetch(location.href)).text(), "text/html");
        live.replaceChildren(...page.querySelector("#live").childNodes);
        at = -1;
      }
      before = state;
    } catch { /* The viewer was ended; its page stays as it is. */ }
    setTimeout(follow, ASK_MS);
  };
  follow();
}
