// What HTML and htmx cannot do: keys, copying, and the state of the live pages.
// Every page works without it.
"use strict";

document.documentElement.classList.add("scripted");

const on = (type, handle) => document.addEventListener(type, handle);
const one = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];

// Live pages. htmx reads the stream, and lets go of it while nobody looks; when there is
// none, or nothing has come for long, the page is asked for instead.
const live = one("[data-pulse]") && one("#live");
if (live) {
  const state = one("[data-pulse-state]"), button = one("[data-pulse-button]");
  const say = (text) => { if (state.textContent !== text) state.textContent = text; };
  let paused = false, connection = null, last = Date.now();

  on("htmx:sse:before:connection", (e) => { if (paused) e.preventDefault(); });
  on("htmx:sse:after:connection", (e) => { connection = e.detail.connection; });
  on("htmx:sse:after:message", () => {
    last = Date.now();
    say("Live");
    // A page that was hidden before the stream began has not told htmx so.
    if (document.hidden) document.dispatchEvent(new Event("visibilitychange"));
  });
  on("visibilitychange", () => { last = Date.now(); });

  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    if (paused) {
      connection?.reader?.cancel();
      say("Paused");
      return;
    }
    last = Date.now();
    say("Live");
    htmx.ajax("GET", live.getAttribute("hx-sse:connect"), {source: live});
  });

  setInterval(async () => {
    if (paused || document.hidden || Date.now() - last < 15000) return;
    try {
      await htmx.ajax("GET", location.pathname + location.search, {target: "#live", select: "#live > *", swap: "innerMorph"});
    } catch { /* relay is away; the next turn asks again */ }
  }, 5000);
  const lost = () => { last = 0; say("Not live: relay does not answer"); };
  on("htmx:after:request", (e) => { if (e.detail.ctx.response.status < 400) say("Updated every 5 s"); else lost(); });
  on("htmx:error", lost);
  on("htmx:sse:error", lost);
}

// Copying.
on("click", async (e) => {
  const button = e.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  const words = one("span", button), before = words.textContent;
  words.textContent = "Copied";
  setTimeout(() => { words.textContent = before; }, 1500);
});

// Keys.
const rows = () => all("[data-rows] tbody tr").filter((row) => one(".lead a", row));
const current = () => document.activeElement.closest?.("[data-rows] tbody tr");
const keysOn = one("[data-keys-on]");
keysOn.checked = localStorage.getItem("relay-keys") !== "off";
keysOn.addEventListener("change", () => { localStorage.setItem("relay-keys", keysOn.checked ? "on" : "off"); });

function step(by) {
  const page = one(by > 0 ? "a[rel=next]" : "a[rel=prev]");
  if (page) {
    page.click();
    return;
  }
  const list = rows(), row = list[Math.min(Math.max(list.indexOf(current()) + by, 0), list.length - 1)];
  one(".lead a", row ?? document.createElement("p"))?.focus();
}

// act does to what is chosen, or to the row, what the button in the bar does; on the
// page of one dead letter, it goes to the button.
function act(what) {
  const bar = one(`#choose button[value=${what}]`), row = current();
  if (!bar) {
    one(`[data-act=${what}]`)?.focus();
    return;
  }
  const boxes = all("input[name=id][form=choose]");
  if (!boxes.some((box) => box.checked) && row) one("input[name=id]", row).checked = true;
  if (boxes.some((box) => box.checked)) {
    one("[data-of]").value = "chosen";
    bar.click();
  }
}

const keys = {
  "/": () => one("[data-search]") ? one("[data-search]").focus() : one("nav a[href$='/dead-letters']")?.click(),
  "j": () => step(1),
  "k": () => step(-1),
  "x": () => { one("input[name=id]", current() ?? document.createElement("p"))?.click(); },
  "r": () => act("replay"),
  "#": () => act("discard"),
  "?": () => one("#keys").showModal(),
};

on("keydown", (e) => {
  if (e.ctrlKey || e.altKey || e.metaKey || e.isComposing || !keysOn.checked && e.key !== "?") return;
  if (e.target.closest("input:not([type=checkbox]), textarea, select, dialog") || !Object.hasOwn(keys, e.key)) return;
  e.preventDefault();
  keys[e.key]();
});
one("[data-keys]").addEventListener("click", () => one("#keys").showModal());
