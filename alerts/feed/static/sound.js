// Sound: off until somebody switches it on; two soft notes made here, no file.

import { texts } from "./texts.js";

const button = document.querySelector("#sound");
const NOTES_S = 0.9; // how long they take: several alerts at once sound as one, not as loud as all of them
let context = null;
let silentAt = 0;

export function wanted() {
  return localStorage.getItem("scad-sound") === "on";
}

function show() {
  button.hidden = false;
  button.setAttribute("aria-pressed", String(wanted()));
  button.textContent = texts[wanted() ? "queue.sound_on" : "queue.sound_off"];
}

export function play() {
  context ??= new AudioContext();
  if (context.currentTime < silentAt) return;
  silentAt = context.currentTime + NOTES_S;
  [659.3, 523.3].forEach((pitch, i) => {
    const begin = context.currentTime + i * 0.28;
    const note = new OscillatorNode(context, { frequency: pitch });
    const volume = new GainNode(context, { gain: 0 });
    volume.gain.setValueAtTime(0, begin);
    volume.gain.linearRampToValueAtTime(0.12, begin + 0.03);
    volume.gain.exponentialRampToValueAtTime(0.001, begin + 0.5);
    note.connect(volume).connect(context.destination);
    note.start(begin);
    note.stop(begin + 0.55);
  });
}

export function offer() {
  show();
  button.addEventListener("click", () => {
    localStorage.setItem("scad-sound", wanted() ? "off" : "on");
    show();
    if (wanted()) play();
  });
}
