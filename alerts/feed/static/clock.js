// Time by the server's clock, which in a demonstration may run faster than the wall's.

import { page, say, texts } from "./texts.js";

const MINUTE = 60e3;
const clock = { now: Number(page.dataset.now), rate: Number(page.dataset.rate), since: performance.now() };

export function setClock(data) {
  clock.now = Date.parse(data.now);
  clock.rate = data.rate;
  clock.since = performance.now();
}

export function now() {
  return clock.now + (performance.now() - clock.since) * clock.rate;
}

function age(past) {
  if (past < MINUTE) return texts["age.now"];
  if (past < 60 * MINUTE) return say("age.minutes", { n: Math.floor(past / MINUTE) });
  if (past < 2880 * MINUTE) return say("age.hours", { n: Math.floor(past / (60 * MINUTE)) });
  return say("age.days", { n: Math.floor(past / (1440 * MINUTE)) });
}

function left(until) {
  const minutes = Math.floor(Math.abs(until) / MINUTE);
  const [key, n, rest] =
    minutes < 60
      ? ["due.minutes", minutes, 0]
      : minutes < 2880
        ? ["due.hours", Math.floor(minutes / 60), minutes % 60]
        : ["due.days", Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24];
  return say(until >= 0 ? "due.left" : "due.over", { time: say(key, { n, rest }) });
}

function show(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Ages and times left as they are now. */
export function tick() {
  const instant = now();
  for (const element of document.querySelectorAll("[data-age]")) show(element, age(instant - Number(element.dataset.age)));
  for (const element of document.querySelectorAll("[data-due]")) {
    const until = Number(element.dataset.due) - instant;
    show(element, left(until));
    element.parentElement.classList.toggle("over", until < 0);
  }
}
