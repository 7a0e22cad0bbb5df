// What somebody does with an alert: one request, who was quicker when it is refused, and a way back.

import { now } from "./clock.js";
import { alertId, focusAlert, patientOf, refreshOwn } from "./rows.js";
import { count, isQueue, page, say, texts } from "./texts.js";

const TOAST_MS = 10000;
const HOUR_MS = 3600e3;
const AT_ONCE = new Set(["acknowledge", "start", "wake", "undo"]); // the others ask something first

// What the menu does not offer, by state: the server refuses it (alerts/lifecycle.py has the whole table).
const IMPOSSIBLE = {
  open: ["wake"],
  escalated: ["wake"],
  acknowledged: ["wake", "acknowledge"],
  "in-progress": ["wake", "acknowledge", "start"],
};

const done = []; // what was done here, for undo, each with its action
let undoing = Promise.resolve(); // one after the other: of two at once the older step could come first
let ended = () => {};

// ---- Messages

export function toast(text, undoOf = null) {
  const line = document.createElement("p");
  line.append(text);
  if (undoOf !== null) {
    document.querySelector(`#toasts [data-undo="${undoOf.alert}"] button`)?.remove(); // the newest comes first
    line.dataset.undo = undoOf.alert;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = texts["do.undo"];
    button.addEventListener("click", () => {
      line.remove();
      undo(undoOf);
    });
    line.append(" ", button);
  }
  const box = document.querySelector("#toasts");
  box.append(line);
  while (box.childElementCount > 3) box.firstElementChild.remove();
  const leave = () => (line.matches(":hover, :focus-within") ? setTimeout(leave, 1000) : line.remove());
  setTimeout(leave, TOAST_MS);
}

function refusal({ error, by, at, alert }) {
  const options = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const when = new Date(at ?? alert.changed_at).toLocaleTimeString(document.documentElement.lang, options);
  return say(`refusal.${error}`, { who: by ?? "SCAD", time: when, state: texts[`state.${alert.state}`] });
}

// ---- Requests

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "X-CSRF-Token": page.dataset.csrf, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (response.status === 401) {
    ended();
    return null;
  }
  if (response.status === 403) throw new Error(texts["refusal.role"]);
  if (!response.ok && response.status !== 409) throw new Error(texts["alert.failed"]);
  return { ok: response.ok, ...(await response.json()) };
}

/** Do it. Returns a sentence that says why not, or null. */
export async function act(target, action, body = {}) {
  let answer;
  try {
    answer = await post(`/api/alerts/${target.alert}/${action}`, body);
  } catch (error) {
    return error instanceof TypeError ? texts["alert.failed"] : error.message;
  }
  if (answer === null) return null;
  const problem = answer.ok ? null : refusal(answer);
  if (answer.ok) {
    const step = action === "undo" || action === "note" ? null : { ...target, action };
    if (step !== null) done.push(step);
    toast(say(`did.${action}`, { rule: target.rule }), step);
  }
  if (isQueue) refreshOwn([target.patient]);
  else location.reload();
  return problem;
}

/** Take back that step and no other: where a colleague has acted since, the server refuses. */
function undo(step) {
  document.querySelector(`#toasts [data-undo="${step.alert}"]:has(button)`)?.remove(); // what it offers is being done
  const place = done.lastIndexOf(step);
  if (place >= 0) done.splice(place, 1);
  undoing = undoing.then(async () => {
    const problem = await act(step, "undo", { undoes: step.action });
    if (problem !== null) toast(problem);
  });
}

export function undoLast() {
  const step = done.at(-1);
  if (step === undefined) toast(texts["refusal.nothing-to-undo"]);
  else undo(step);
}

/** What an action is about, from an element inside the alert. */
function targetOf(element) {
  const item = element.closest(".alert");
  const row = item.closest(".row");
  return {
    alert: alertId(item),
    patient: row === null ? page.dataset.patient : patientOf(item),
    version: Number(item.dataset.v),
    holds: item.dataset.holds !== undefined,
    state: item.dataset.state,
    rule: item.querySelector(".head b, a").textContent,
    name: row?.querySelector("h3").textContent.trim() ?? "",
  };
}

/** Begin an action on the alert around `element`: at once, or with its dialog. */
export async function begin(element, action) {
  const target = targetOf(element);
  if (!AT_ONCE.has(action)) return open(action, target);
  if (element.getAttribute("aria-busy") === "true") return;
  element.setAttribute("aria-busy", "true");
  const problem = await act(target, action, action === "undo" ? {} : { version: target.version });
  element.removeAttribute("aria-busy");
  if (problem !== null) toast(problem);
}

// ---- Dialogs: the server's forms, filled in with which alert it is about

let about = null;
let opener = null;

function open(action, target) {
  const dialog = document.querySelector(`#d-${action}`);
  if (dialog === null) return;
  about = target;
  opener = `[id="a-${target.alert}"]`;
  dialog.querySelector(".about").textContent = [target.name, target.rule].filter(Boolean).join(" · ");
  const form = dialog.querySelector("form");
  if (form !== null) {
    form.reset();
    form.querySelector(".problem").hidden = true;
    const holds = form.querySelector(".holds");
    if (holds !== null) {
      holds.hidden = !target.holds;
      holds.querySelector("input").required = target.holds;
    }
  } else {
    for (const link of dialog.querySelectorAll("a")) link.href = `/alerts/${target.alert}${link.dataset.below ?? ""}`;
    for (const button of dialog.querySelectorAll("[data-do]")) {
      button.parentElement.hidden = (IMPOSSIBLE[target.state] ?? []).includes(button.dataset.do);
    }
  }
  dialog.showModal();
}

/** What the form says, as the JSON of the action. */
function bodyOf(form) {
  const said = Object.fromEntries([...new FormData(form)].filter(([name, text]) => text !== "" || name === "to"));
  const { hours, ...body } = said;
  if (hours !== undefined) body.until = new Date(now() + Number(hours) * HOUR_MS).toISOString();
  return { ...body, version: about.version };
}

async function submit(form) {
  const problem = await act(about, form.dataset.action, bodyOf(form));
  if (problem === null) return form.closest("dialog").close();
  const line = form.querySelector(".problem");
  line.textContent = problem;
  line.hidden = false;
}

function startDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
      const chosen = event.target.closest("[data-do]");
      if (chosen === null) return;
      dialog.close();
      const item = document.querySelector(opener);
      if (item !== null) begin(item, chosen.dataset.do);
    });
    dialog.addEventListener("close", () => {
      // what had the focus may have been put in place anew meanwhile
      const item = document.activeElement === document.body && opener !== null && document.querySelector(opener);
      if (item) focusAlert(item);
    });
    dialog.addEventListener("submit", (event) => {
      event.preventDefault();
      submit(event.target);
    });
  }
}

// ---- Several at once: never high ones

const bulk = document.querySelector("#bulk");

function ticked() {
  return [...document.querySelectorAll('input[form="bulk"]:checked')];
}

export function showTicked() {
  if (bulk === null) return;
  const n = ticked().length;
  document.querySelector("#bulk-count").textContent = n > 0 ? count("queue.selected", n) : "";
}

async function acknowledgeTicked() {
  const boxes = ticked();
  if (boxes.length === 0) return;
  const rules = new Map(boxes.map((box) => [box.value, targetOf(box)]));
  const note = bulk.querySelector('[name="note"]').value || null;
  try {
    const alerts = boxes.map((box) => ({ alert: box.value, version: Number(box.closest(".alert").dataset.v) }));
    const answer = await post("/api/alerts/bulk", { alerts, action: "acknowledge", note });
    if (answer === null) return;
    toast(count("queue.bulk_done", answer.done));
    const refused = answer.results.filter((result) => result.error);
    if (refused.length > 0) {
      const lines = refused.map(({ alert, error, by, at, state }) => {
        const { name, rule } = rules.get(alert);
        return `${name}, ${rule} – ${refusal({ error, by, at, alert: { state, changed_at: at ?? now() } })}`;
      });
      toast(`${count("queue.bulk_failed", refused.length)} ${lines.join(" ")}`);
    }
    bulk.reset();
    for (const box of boxes) box.checked = false;
    showTicked();
    refreshOwn(new Set([...rules.values()].map((target) => target.patient)));
  } catch {
    toast(texts["alert.failed"]);
  }
}

function startBulk() {
  if (bulk === null) return;
  document.addEventListener("change", (event) => event.target.matches('input[form="bulk"]') && showTicked());
  bulk.addEventListener("reset", () => setTimeout(showTicked, 0));
  bulk.addEventListener("submit", (event) => {
    event.preventDefault();
    acknowledgeTicked();
  });
  const all = document.querySelector("#bulk-all");
  all.hidden = false;
  all.addEventListener("click", () => {
    for (const box of document.querySelectorAll('input[form="bulk"]')) box.checked = true;
    showTicked();
  });
}

export function start({ onEnded }) {
  ended = onEnded;
  startDialogs();
  startBulk();
  document.addEventListener("submit", (event) => {
    if (event.target.id !== "act" || !event.submitter) return;
    event.preventDefault();
    begin(event.submitter, event.submitter.formAction.split("/").at(-1));
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-do]");
    if (link === null || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (document.querySelector(`#d-${link.dataset.do}`) === null) return; // no dialogs here: the link leads on
    event.preventDefault();
    begin(link, link.dataset.do);
  });
}
