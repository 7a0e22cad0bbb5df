// The care plan's form: while somebody changes a limit, the effect of it is fetched and shown. Without this
// script the button asks for the same.

const form = document.querySelector("#plan-form");
const REMAKES = ["protocols", "pregnancy", "mechanical_valve", "spo2_scale", "known_atrial_fibrillation"];
const WAIT_MS = 400; // after the last key: one question, not one a digit

if (form) {
  const place = form.querySelector("#preview");
  let timer;
  let asking;

  const ask = async () => {
    asking?.abort();
    asking = new AbortController();
    const body = new URLSearchParams(new FormData(form));
    body.set("do", "preview");
    place.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(form.action, {
        method: "POST",
        body,
        headers: { "X-Fragment": "preview" },
        signal: asking.signal,
      });
      if (!answer.ok || answer.redirected) return;
      place.innerHTML = await answer.text();
    } catch (error) {
      if (error.name !== "AbortError") return;
    } finally {
      place.removeAttribute("aria-busy");
    }
  };

  form.addEventListener("input", (event) => {
    if (["reason", "from", ...REMAKES].includes(event.target.name)) return;
    clearTimeout(timer);
    timer = setTimeout(ask, WAIT_MS);
  });
  // These bring or take away fields: the page is made anew, with what was typed.
  form.addEventListener("change", (event) => {
    if (REMAKES.includes(event.target.name)) form.querySelector('button[value="preview"]').click();
  });
}

document.querySelector("#faults")?.focus();
