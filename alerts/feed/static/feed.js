// The live part of the pages. Every page works without it. The server renders all rows; this script listens for
// events, fetches the rows that changed and puts them where they belong. An event says only that something
// changed: the rows come from the database, so an event that is seen twice changes nothing, and the cursor (the
// event's id) lets none be missed.

import * as actions from "./actions.js";
import { setClock, tick } from "./clock.js";
import * as keys from "./keys.js";
import * as rows from "./rows.js";
import * as sound from "./sound.js";
import { isQueue, page, texts } from "./texts.js";

const SILENT_MS = 25000; // two heartbeats and a half without a word: the connection is dead
const RETRY_MS = 3000;
const HEADER_MS = 20000; // how old the data is changes without any alert

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
    rows.rang(data.alert);
    if (sound.wanted()) sound.play();
  }
  rows.refresh(data.patient);
}

function watch() {
  tick();
  if (isQueue) rows.releaseWhenFree();
  if (isQueue && !over && performance.now() - rows.askedAt > HEADER_MS) rows.fetchRows();
  if (!over && performance.now() - heardAt > SILENT_MS) {
    showLive("lost");
    connect();
  }
}

actions.start({ onEnded: ended });
if (isQueue) {
  rows.start({ onEnded: ended, onRows: keys.restoreMark });
  keys.start();
  sound.offer();
}
showLive("");
connect();
setInterval(watch, 1000);
