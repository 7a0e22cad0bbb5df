// On a narrow page the tabs are a strip: the present one is brought into view. Then the care plan's form: while somebody changes a limit, the effect of it is fetched and shown. Without this
// script the button asks for the same.

document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

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

// Typed-in values that are on their way: the list is fetched again until each has come back.
const POLL_MS = 2000;
const POLLS_MAX = 60; // two minutes; then somebody asks by the link

async function follow(polls) {
  const list = document.querySelector("#entered[data-waiting]");
  if (!list || polls === 0) return;
  await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  try {
    const answer = await fetch(location.pathname + location.search);
    if (answer.ok && !answer.redirected) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#entered");
      if (fresh && !list.contains(document.activeElement)) list.replaceWith(fresh);
    }
  } catch {
    // The next turn asks again.
  }
  follow(polls - 1);
}

follow(POLLS_MAX);
document.querySelector("#faults")?.focus();
