// Rows: what has come is put in place at once, or held while it would move what somebody looks at.

import { setClock, tick } from "./clock.js";
import { count, page, say } from "./texts.js";

const GATHER_MS = 80; // events within this time share one request for rows
const ROWS_AT_ONCE = 100; // patients whose rows are fetched at once (the server's bound)
const RETRY_MS = 3000;
const TOUCH_MS = 2000; // after a touch nothing moves for so long
const LOOK_AHEAD = "800px"; // rows are made whole before they come into view

const held = new Map(); // key -> answer that waits
const ringing = new Set(); // alerts that rang and whose row has not been shown yet
const announced = new Set();
const own = new Set(); // patients whose change was made here: nobody is surprised by it
let touchedAt = -Infinity;
let pointedRow = null;
let ended = () => {};
let afterRows = () => {};

export function rang(alert) {
  ringing.add(alert);
}

export function alertId(element) {
  return element.closest(".alert").id.slice(2); // the element's id is a- and the alert's
}

export function patientOf(element) {
  return element.closest(".row").dataset.key.replace(/^\w+:/, "");
}

function rowOf(key) {
  return document.getElementById(key);
}

/** The row that must not move: under the pointer, or with the keyboard's focus in it. */
function anchor() {
  const focused = document.activeElement?.closest(".row");
  if (focused && focused.contains(document.querySelector(":focus-visible"))) return focused;
  if (pointedRow?.isConnected && pointedRow.matches(":hover")) return pointedRow;
  if (performance.now() - touchedAt < TOUCH_MS) return page.querySelector(".row");
  return null;
}

/** Whether putting this answer in place would move the anchored row. */
function wouldMove(answer, anchored) {
  if (anchored === null || answer.key === anchored.id) return answer.html === null && anchored !== null;
  const row = rowOf(answer.key);
  const list = page.querySelector(`[data-section="${answer.key.split(":")[0]}"]`);
  if (row === null) return answer.html !== null && !belowIn(list, anchored, answer.order);
  return !(anchored.compareDocumentPosition(row) & Node.DOCUMENT_POSITION_FOLLOWING);
}

/** Whether a new row of this order would stand below the anchored one. */
function belowIn(list, anchored, order) {
  if (list.contains(anchored)) return order > anchored.dataset.order;
  return Boolean(anchored.compareDocumentPosition(list) & Node.DOCUMENT_POSITION_FOLLOWING);
}

function accept(answers) {
  announce(answers);
  const anchored = anchor();
  for (const answer of answers) {
    const mine = own.delete(answer.key.replace(/^\w+:/, ""));
    held.delete(answer.key);
    const row = rowOf(answer.key);
    if (row === null && answer.html === null) continue;
    if (!mine && wouldMove(answer, anchored)) {
      held.set(answer.key, answer);
      if (row !== null && answer.html === null) row.classList.add("gone");
    } else {
      put(answer, anchored === null);
    }
  }
  showHeld();
  afterRows();
}

function put(answer, mayMove) {
  const old = rowOf(answer.key);
  const list = page.querySelector(`[data-section="${answer.key.split(":")[0]}"]`);
  if (list === null) return;
  if (answer.html === null) {
    remove(old);
  } else {
    const row = parsed(answer.html);
    const focus = old?.contains(document.activeElement) ? document.activeElement : null;
    if (old === null) {
      row.classList.add("fresh-row");
      insert(list, row);
    } else {
      for (const box of old.querySelectorAll("input:checked")) {
        const same = row.querySelector(`input[value="${box.value}"]`);
        if (same !== null) same.checked = true;
      }
      old.replaceWith(row);
      if (mayMove && old.dataset.order !== row.dataset.order) insert(list, row);
    }
    if (focus !== null) restoreFocus(row, focus);
    if ([...row.querySelectorAll(".alert")].some((alert) => ringing.delete(alertId(alert)))) {
      row.classList.add("rings");
    }
  }
  list.closest("section").querySelector(".empty").hidden = list.childElementCount > 0;
}

function parsed(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  return holder.content.querySelector(".row");
}

/** Take a row away; the keyboard goes on with the next one. */
function remove(row) {
  if (row === null) return;
  const alerts = [...page.querySelectorAll(".alert")];
  const last = alerts.findLastIndex((alert) => row.contains(alert));
  const next = alerts[last + 1] ?? alerts[alerts.findIndex((alert) => row.contains(alert)) - 1];
  const lost = document.activeElement === document.body && row.querySelector(".marked") !== null;
  const focused = lost || row.contains(document.activeElement);
  row.remove();
  if (focused && next !== undefined) focusAlert(next);
}

function insert(list, row) {
  const next = [...list.children].find((other) => other !== row && other.dataset.order > row.dataset.order);
  list.insertBefore(row, next ?? null);
}

export function focusAlert(alert, scroll = false) {
  alert.tabIndex = -1;
  alert.focus({ preventScroll: true, focusVisible: true });
  if (scroll) alert.scrollIntoView({ block: "nearest" });
}

/** Keep the keyboard where it was: on the same alert, else on the patient's first. */
function restoreFocus(row, before) {
  const id = before.closest(".alert")?.id;
  const alert = (id && row.querySelector(`[id="${id}"]`)) || null;
  if (before.matches(".alert")) focusAlert(alert ?? row.querySelector(".alert"));
  else (alert?.querySelector(".buttons > *") ?? row.querySelector("h3 a")).focus({ preventScroll: true });
}

function showHeld() {
  const button = document.querySelector("#held");
  const fresh = [...held.values()].filter((answer) => rowOf(answer.key) === null).length;
  button.hidden = held.size === 0;
  if (held.size > 0) button.textContent = fresh > 0 ? count("queue.new_rows", fresh) : count("queue.new", held.size);
}

export function release() {
  const waiting = [...held.values()];
  held.clear();
  for (const answer of waiting) put(answer, true);
  showHeld();
}

export function releaseWhenFree() {
  if (held.size > 0 && anchor() === null) release();
}

/** Say aloud what rang, whether its row is shown yet or held. */
function announce(answers) {
  for (const answer of answers) {
    if (answer.html === null) continue;
    const row = parsed(answer.html);
    for (const alert of row.querySelectorAll(".alert.ringing")) {
      const id = alertId(alert);
      if (!ringing.has(id) || announced.has(id)) continue;
      announced.add(id);
      const line = document.createElement("p");
      line.textContent = say("queue.announce", {
        patient: row.querySelector("h3").textContent.trim(),
        sentence: alert.querySelector(".sentence").textContent.trim(),
      });
      document.querySelector("#announce").replaceChildren(line);
    }
  }
}

function showHeader(answer) {
  const holder = document.createElement("template");
  holder.innerHTML = answer.header;
  const header = holder.content.querySelector("#status");
  const before = document.querySelector("#status");
  // the same words are not put in place anew: a warning would be read aloud again and again
  if (before.innerHTML !== header.innerHTML) before.replaceWith(header);
  const title = document.title.replace(/^\(\d+\) /, "");
  document.title = answer.ringing > 0 ? `(${answer.ringing}) ${title}` : title;
}

// ---- Fetching what changed

const changed = new Set();
let fetching = false;
let gathering = 0;
export let askedAt = performance.now();

export function refresh(patient) {
  changed.add(patient);
  if (!gathering) gathering = setTimeout(fetchRows, GATHER_MS);
}

/** After an action made here: at once, and without holding back what it changes. */
export function refreshOwn(patients) {
  for (const patient of patients) {
    changed.add(patient);
    own.add(patient);
  }
  clearTimeout(gathering);
  return fetchRows();
}

async function ask(patients) {
  const query = new URLSearchParams(page.dataset.filter);
  for (const patient of patients) query.append("patient", patient);
  const response = await fetch(`/queue/rows?${query}`);
  if (response.status === 401) {
    ended();
    return null;
  }
  if (!response.ok) throw new Error(`rows: ${response.status}`);
  return response.json();
}

export async function fetchRows() {
  gathering = 0;
  if (fetching) return;
  fetching = true;
  askedAt = performance.now();
  const patients = [...changed].slice(0, ROWS_AT_ONCE);
  for (const patient of patients) changed.delete(patient);
  try {
    const answer = await ask(patients);
    if (answer === null) return;
    setClock(answer);
    accept(answer.rows);
    showHeader(answer);
    tick();
  } catch {
    for (const patient of patients) changed.add(patient); // they are asked for again
    setTimeout(fetchRows, RETRY_MS);
    return;
  } finally {
    fetching = false;
  }
  if (changed.size > 0) await fetchRows();
}

// ---- Rows further down came in brief; they are made whole before they are looked at

const wanted = new Set();
let drawing = 0;

async function draw() {
  drawing = 0;
  const patients = [...wanted].slice(0, ROWS_AT_ONCE);
  wanted.clear();
  const answer = await ask(patients).catch(() => null);
  for (const { key, html } of answer?.rows ?? []) {
    const row = rowOf(key);
    if (html !== null && row?.dataset.light !== undefined) put({ key, html }, false);
  }
  tick();
  afterRows();
}

const observer = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      observer.unobserve(target);
      wanted.add(patientOf(target));
    }
    if (wanted.size > 0 && !drawing) drawing = setTimeout(draw, GATHER_MS);
  },
  { rootMargin: LOOK_AHEAD },
);

function drawWhenSeen() {
  for (const row of page.querySelectorAll("[data-light]")) observer.observe(row);
}

/** The link "show more" adds its rows to this page instead of loading another. */
async function more(link) {
  link.setAttribute("aria-busy", "true");
  const answer = await fetch(link.href).catch(() => null);
  if (!answer?.ok) return location.assign(link.href);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const row of fresh.querySelectorAll("#queue .row")) {
    const list = page.querySelector(`[data-section="${row.dataset.key.split(":")[0]}"]`);
    if (list !== null && rowOf(row.dataset.key) === null) insert(list, document.adoptNode(row));
  }
  const section = link.closest("section").classList[0];
  const next = fresh.querySelector(`section.${section} .more`);
  if (next === null) link.closest(".more").remove();
  else link.closest(".more").replaceWith(document.adoptNode(next));
  drawWhenSeen();
}

/** Watch pointer and focus. `onEnded`: the session is over; `onRows`: rows have changed. */
export function start({ onEnded, onRows }) {
  ended = onEnded;
  afterRows = onRows;
  page.addEventListener("pointerover", (event) => {
    if (event.pointerType === "mouse") pointedRow = event.target.closest(".row");
    else touchedAt = performance.now();
  });
  page.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse") touchedAt = performance.now();
  });
  page.addEventListener("pointerleave", () => {
    pointedRow = null;
    releaseWhenFree();
  });
  page.addEventListener("focusout", () => setTimeout(releaseWhenFree, 0));
  document.querySelector("#held").addEventListener("click", release);
  page.addEventListener("click", (event) => {
    const link = event.target.closest(".more a");
    if (link === null || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    more(link);
  });
  drawWhenSeen();
}
