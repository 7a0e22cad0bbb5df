// One key, one step: j k move, a s n r act on the marked alert, u undoes, x selects, m opens the menu, ? helps.

import { begin, showTicked, undoLast } from "./actions.js";
import { focusAlert } from "./rows.js";
import { page } from "./texts.js";

const help = document.querySelector("#d-help");
let marked = null; // the id of the alert that keys act on

function alerts() {
  return [...page.querySelectorAll(".alert")];
}

/** The alert that keys act on: where the focus is, else the one that was marked last. */
function current() {
  const focused = document.activeElement?.closest?.(".alert");
  if (focused) return focused;
  return marked === null ? null : document.getElementById(marked);
}

function mark(alert) {
  page.querySelector(".alert.marked")?.classList.remove("marked");
  alert?.classList.add("marked");
  marked = alert?.id ?? null;
}

/** After rows were put in place anew, the mark is where it was. */
export function restoreMark() {
  if (marked !== null) mark(document.getElementById(marked) ?? document.activeElement?.closest?.(".alert") ?? null);
}

function move(step) {
  const all = alerts();
  if (all.length === 0) return;
  const place = all.indexOf(current());
  const next = all[place < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(place + step, 0), all.length - 1)];
  focusAlert(next, true);
}

function acknowledge(alert) {
  const waiting = alert.classList.contains("waiting");
  begin(alert, waiting ? "acknowledge" : alert.classList.contains("snoozed") ? "wake" : "start");
}

const onAlert = {
  a: acknowledge,
  s: (alert) => begin(alert, "snooze"),
  n: (alert) => begin(alert, "note"),
  r: (alert) => begin(alert, "resolve"),
  m: (alert) => begin(alert, "menu"),
  x: (alert) => {
    const box = alert.querySelector('input[form="bulk"]');
    if (box === null) return;
    box.checked = !box.checked;
    showTicked();
  },
};

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest?.("input:not([type=checkbox]), textarea, select, dialog")) return;
  const mayAct = help !== null;
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "u" && mayAct) undoLast();
  else if (event.key === "?" && mayAct) help.showModal();
  else if (mayAct && event.key in onAlert) {
    const alert = current() ?? alerts()[0];
    if (alert === undefined) return;
    mark(alert);
    onAlert[event.key](alert);
  } else return;
  event.preventDefault();
}

export function start() {
  document.addEventListener("keydown", press);
  page.addEventListener("focusin", (event) => {
    const alert = event.target.closest(".alert");
    if (alert !== null) mark(alert);
  });
  const button = document.querySelector("#help");
  if (help === null) return;
  button.hidden = false;
  button.addEventListener("click", () => help.showModal());
}
