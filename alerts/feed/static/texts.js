// What the page said to its script: texts in the reader's language, who is looking, at what.

export const page = document.querySelector("#queue, #patient");
export const texts = JSON.parse(page.dataset.texts);
export const isQueue = page.id === "queue";

export function say(key, values = {}) {
  return (texts[key] ?? "").replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export function count(key, n) {
  const one = n === 1 || (n === 0 && document.documentElement.lang === "fr");
  return say(`${key}_${one ? "one" : "many"}`, { n });
}
