// Keeps the page true: asks for the state again and again, as long as somebody looks at it.

import { show } from "./show.js";
import * as table from "./table.js";
import { clock, moment } from "./words.js";

const WAIT = 2; // seconds between two asks, if the scheduler does not say otherwise
const LONGEST = 10; // while it does not answer

const root = document.documentElement;
const live = document.getElementById("live");
const said = document.getElementById("live-text");
let known = "";
let awaySince = null;
let failures = 0;
let timer = 0;
let asking = false;
let began = false;

function tell(state, text) {
  live.dataset.live = state;
  // A screen reader hears of changes, not of every beat.
  if (said.textContent !== text) said.textContent = text;
}

function away(why) {
  failures += 1;
  awaySince ??= new Date();
  tell("away", `${why} since ${clock(awaySince)}`);
  root.dataset.stale = "yes";
  return Math.min(LONGEST, WAIT * failures);
}

function take(status, now) {
  // Other hosts and workers are declared, or something was changed: the whole page is another.
  const { declared, history } = status.editions;
  if (declared !== root.dataset.declared || history !== root.dataset.history) {
    location.reload();
    return;
  }
  if (!began) {
    table.begin(status.processes);
    began = true;
  }
  show(status, now);
  table.tell(status.processes);
}

async function ask() {
  let response;
  try {
    response = await fetch("api/status", {
      headers: known ? { "If-None-Match": known } : {},
      cache: "no-store",
      redirect: "manual",
      signal: AbortSignal.timeout(1000 * LONGEST),
    });
  } catch {
    return away("no answer");
  }
  if (response.type === "opaqueredirect" || response.status === 401) {
    return away("not logged in: load the page again");
  }
  if (response.status !== 304 && !response.ok) return away("the scheduler is away");
  const now = Date.parse(response.headers.get("Date") ?? "") / 1000 || Date.now() / 1000;
  if (response.status !== 304) {
    let status;
    try {
      status = await response.json();
    } catch {
      return away("the scheduler is away");
    }
    known = response.headers.get("ETag") ?? "";
    take(status, now);
  }
  failures = 0;
  awaySince = null;
  delete root.dataset.stale;
  tell("live", "live");
  return Number(response.headers.get("Poll-After")) || WAIT;
}

async function run() {
  clearTimeout(timer);
  if (document.hidden) {
    tell("still", "paused");
    return;
  }
  if (asking) return; // whoever waits for the answer goes on from there
  asking = true;
  const wait = await ask();
  asking = false;
  if (!document.hidden) timer = setTimeout(run, 1000 * wait);
}

// Colours: as the system has them, light, dark.
const button = document.getElementById("theme");
const CHOICES = ["system", "light", "dark"];
const WORDS = { system: "as the system has them", light: "light", dark: "dark" };

function paint(choice) {
  if (choice === "system") delete root.dataset.colours;
  else root.dataset.colours = choice;
  button.setAttribute("aria-label", `Colours: ${WORDS[choice]}`);
  button.firstElementChild.textContent = { system: "◐", light: "☀", dark: "☾" }[choice];
}

button.addEventListener("click", () => {
  const now = CHOICES.indexOf(root.dataset.colours ?? "system");
  const choice = CHOICES[(now + 1) % CHOICES.length];
  paint(choice);
  try {
    localStorage.setItem("fleet-colours", choice);
  } catch {
    // It holds until the page is left, then.
  }
});

paint(root.dataset.colours ?? "system");
for (const time of document.querySelectorAll("[data-epoch]")) {
  time.textContent = moment(Number(time.dataset.epoch));
}
document.addEventListener("visibilitychange", run);
run();
