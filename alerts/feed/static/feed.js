// The live part of the pages. Every page works without it. The server renders all rows; this script listens
// for events, fetches the rows that changed and puts them where they belong, without moving what is being
// looked at. An event says only that something changed: the rows come from the database, so an event that is
// seen twice changes nothing, and the cursor (the event's id) lets none be missed.

const page = document.querySelector("#queue, #patient");
const texts = JSON.parse(page.dataset.texts);
const isQueue = page.id === "queue";

const GATHER_MS = 150; // events within this time share one request for rows
const ROWS_AT_ONCE = 100; // patients whose rows are fetched at once (the server's bound)
const SILENT_MS = 25000; // two heartbeats and a half without a word: the connection is dead
const RETRY_MS = 3000;
const TOUCH_MS = 2000; // after a touch nothing moves for so long
const TOAST_MS = 10000;
const HEADER_MS = 20000; // how old the data is changes without any alert

function say(key, values = {}) {
  return texts[key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

function count(key, n) {
  const one = n === 1 || (n === 0 && document.documentElement.lang === "fr");
  return say(`${key}_${one ? "one" : "many"}`, { n });
}

// ---- Time: the server's clock, which in a demonstration may run faster than the wall's.

const time = { now: Number(page.dataset.now), rate: Number(page.dataset.rate), since: performance.now() };

function setClock(data) {
  time.now = Date.parse(data.now);
  time.rate = data.rate;
  time.since = performance.now();
}

function age(past) {
  if (past < 60e3) return texts["age.now"];
  if (past < 3600e3) return say("age.minutes", { n: Math.floor(past / 60e3) });
  if (past < 2 * 86400e3) return say("age.hours", { n: Math.floor(past / 3600e3) });
  return say("age.days", { n: Math.floor(past / 86400e3) });
}

function tick() {
  const now = time.now + (performance.now() - time.since) * time.rate;
  for (const element of document.querySelectorAll("[data-age]")) {
    const text = age(now - Number(element.dataset.age));
    if (element.textContent !== text) element.textContent = text;
  }
}

// ---- Messages

function toast(text) {
  const line = document.createElement("p");
  line.textContent = text;
  document.querySelector("#toasts").append(line);
  setTimeout(() => line.remove(), TOAST_MS);
}

// ---- Sound: off until somebody switches it on; two soft notes made here, no file.

const sound = { button: document.querySelector("#sound"), context: null };

function soundWanted() {
  return localStorage.getItem("scad-sound") === "on";
}

function showSound() {
  sound.button.hidden = false;
  sound.button.setAttribute("aria-pressed", String(soundWanted()));
  sound.button.textContent = texts[soundWanted() ? "queue.sound_on" : "queue.sound_off"];
}

function play() {
  sound.context ??= new AudioContext();
  [659.3, 523.3].forEach((pitch, i) => {
    const begin = sound.context.currentTime + i * 0.28;
    const note = new OscillatorNode(sound.context, { frequency: pitch });
    const volume = new GainNode(sound.context, { gain: 0 });
    volume.gain.setValueAtTime(0, begin);
    volume.gain.linearRampToValueAtTime(0.12, begin + 0.03);
    volume.gain.exponentialRampToValueAtTime(0.001, begin + 0.5);
    note.connect(volume).connect(sound.context.destination);
    note.start(begin);
    note.stop(begin + 0.55);
  });
}

// ---- Rows: what has come is put in place at once, or held while it would move what somebody looks at.

const held = new Map(); // key -> answer that waits
const ringing = new Set(); // alerts that rang and whose row has not been shown yet
let touchedAt = -Infinity;
let pointedRow = null;

function alertOf(element) {
  return element.closest(".alert").id.slice(2); // the element's id is a- and the alert's
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
    held.delete(answer.key);
    const row = rowOf(answer.key);
    if (row === null && answer.html === null) continue;
    if (wouldMove(answer, anchored)) {
      held.set(answer.key, answer);
      if (row !== null && answer.html === null) row.classList.add("gone");
    } else {
      put(answer, anchored === null);
    }
  }
  showHeld();
}

function put(answer, mayMove) {
  const old = rowOf(answer.key);
  const list = page.querySelector(`[data-section="${answer.key.split(":")[0]}"]`);
  if (answer.html === null) {
    old?.remove();
  } else {
    const holder = document.createElement("template");
    holder.innerHTML = answer.html;
    const row = holder.content.querySelector(".row");
    const focus = old?.contains(document.activeElement) ? document.activeElement : null;
    if (old === null) {
      row.classList.add("fresh-row");
      insert(list, row);
    } else {
      old.replaceWith(row);
      if (mayMove && old.dataset.order !== row.dataset.order) insert(list, row);
    }
    if (focus !== null) restoreFocus(row, focus);
    if ([...row.querySelectorAll(".alert")].some((alert) => ringing.delete(alertOf(alert)))) {
      row.classList.add("rings");
    }
  }
  const empty = list.closest("section").querySelector(".empty");
  empty.hidden = list.childElementCount > 0;
}

function insert(list, row) {
  const next = [...list.children].find((other) => other !== row && other.dataset.order > row.dataset.order);
  list.insertBefore(row, next ?? null);
}

/** Keep the keyboard where it was: the same alert's next action, else the patient's name. */
function restoreFocus(row, before) {
  const alert = before.closest(".alert")?.id;
  const button = alert && row.querySelector(`[id="${alert}"] button`);
  (button ?? row.querySelector("h3 a")).focus({ preventScroll: true });
}

function showHeld() {
  const button = document.querySelector("#held");
  const fresh = [...held.values()].filter((answer) => rowOf(answer.key) === null).length;
  button.hidden = held.size === 0;
  if (held.size > 0) button.textContent = fresh > 0 ? count("queue.new_rows", fresh) : count("queue.new", held.size);
}

function release() {
  const waiting = [...held.values()];
  held.clear();
  for (const answer of waiting) put(answer, true);
  showHeld();
}

function releaseWhenFree() {
  if (held.size > 0 && anchor() === null) release();
}

/** Say aloud what rang, whether its row is shown yet or held. */
function announce(answers) {
  for (const answer of answers) {
    if (answer.html === null) continue;
    const holder = document.createElement("template");
    holder.innerHTML = answer.html;
    for (const alert of holder.content.querySelectorAll(".alert.ringing")) {
      const id = alertOf(alert);
      if (!ringing.has(id) || announced.has(id)) continue;
      announced.add(id);
      const line = document.createElement("p");
      line.textContent = say("queue.announce", {
        patient: holder.content.querySelector("h3").textContent.trim(),
        sentence: alert.querySelector(".sentence").textContent.trim(),
      });
      document.querySelector("#announce").replaceChildren(line);
    }
  }
}
const announced = new Set();

function showHeader(answer) {
  const holder = document.createElement("template");
  holder.innerHTML = answer.header;
  document.querySelector("#status").replaceWith(holder.content.querySelector("#status"));
  const title = document.title.replace(/^\(\d+\) /, "");
  document.title = answer.ringing > 0 ? `(${answer.ringing}) ${title}` : title;
}

// ---- Fetching what changed

const changed = new Set();
let fetching = false;
let gathering = 0;
let askedAt = performance.now();

function refresh(patient) {
  changed.add(patient);
  if (!gathering) gathering = setTimeout(fetchRows, GATHER_MS);
}

async function fetchRows() {
  gathering = 0;
  if (fetching) return;
  fetching = true;
  askedAt = performance.now();
  const patients = [...changed].slice(0, ROWS_AT_ONCE);
  for (const patient of patients) changed.delete(patient);
  const query = new URLSearchParams(patients.map((patient) => ["patient", patient]));
  try {
    const response = await fetch(`/queue/rows?${query}`);
    if (response.status === 401) return ended();
    if (!response.ok) throw new Error(`rows: ${response.status}`);
    const answer = await response.json();
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
  if (changed.size > 0) fetchRows();
}

// ---- The stream

let source = null;
let cursor = Number(page.dataset.cursor);
let heardAt = performance.now();
let over = false;

function showLive(state) {
  const line = document.querySelector("#live");
  if (line === null) return;
  line.hidden = false;
  line.className = `live ${state}`;
  const key = { on: "header.connected", lost: "header.lost", ended: "header.ended", "": "header.connecting" }[state];
  if (line.querySelector(".text").textContent !== texts[key]) line.querySelector(".text").textContent = texts[key];
}

function ended() {
  over = true;
  source?.close();
  showLive("ended");
  document.querySelector("#live")?.classList.add("lost");
}

function connect() {
  if (over) return;
  source?.close();
  source = new EventSource(`/api/stream?after=${cursor}`);
  heardAt = performance.now();
  const heard = (handle) => (event) => {
    heardAt = performance.now();
    showLive("on");
    handle(JSON.parse(event.data), event);
  };
  source.addEventListener("clock", heard(setClock));
  source.addEventListener("ended", heard(ended));
  source.addEventListener("reload", () => location.reload());
  source.addEventListener("alert", heard(onAlert));
  source.onerror = async () => {
    showLive("lost");
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    const session = await fetch("/api/session").catch(() => null);
    if (session?.status === 401) ended();
    else setTimeout(connect, RETRY_MS);
  };
}

function onAlert(data, event) {
  const id = Number(event.lastEventId);
  if (id <= cursor) return;
  cursor = id;
  setClock(data);
  if (!isQueue) {
    if (data.patient === page.dataset.patient) location.reload();
    return;
  }
  if (data.ring) {
    ringing.add(data.alert);
    if (soundWanted()) play();
  }
  refresh(data.patient);
}

function watch() {
  tick();
  if (isQueue) releaseWhenFree();
  if (isQueue && !over && performance.now() - askedAt > HEADER_MS) fetchRows();
  if (!over && performance.now() - heardAt > SILENT_MS) {
    showLive("lost");
    connect();
  }
}

// ---- Actions

async function acknowledge(button) {
  const alert = alertOf(button);
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(`/api/alerts/${alert}/acknowledge`, {
      method: "POST",
      headers: { "X-CSRF-Token": page.dataset.csrf },
    });
    if (response.status === 401) return ended();
    if (response.status === 409) {
      const conflict = await response.json();
      const options = { hour: "2-digit", minute: "2-digit" };
      const at = conflict.at && new Date(conflict.at).toLocaleTimeString(document.documentElement.lang, options);
      toast(conflict.by ? say("alert.conflict", { who: conflict.by, time: at }) : texts["alert.conflict_closed"]);
    } else if (!response.ok) {
      throw new Error(`acknowledge: ${response.status}`);
    }
    if (isQueue) refresh(button.closest(".row").dataset.key.replace(/^\w+:/, ""));
    else location.reload();
  } catch {
    toast(texts["alert.failed"]);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

document.addEventListener("submit", (event) => {
  if (event.target.id !== "act" || !event.submitter) return;
  event.preventDefault();
  acknowledge(event.submitter);
});

if (isQueue) {
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
  showSound();
  sound.button.addEventListener("click", () => {
    localStorage.setItem("scad-sound", soundWanted() ? "off" : "on");
    showSound();
    if (soundWanted()) play();
  });
}

showLive("");
connect();
setInterval(watch, 1000);
