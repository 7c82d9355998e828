// What stands around the pairs: instructions, progress, the state of the connection.

import { $, count, make, memory } from "./dom.js";
import { call } from "./server.js";

const POLL = 3_000; // ms between two looks at the progress
const QUIET = 2_000; // ms in which an answer may be under way without a word about it
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const SEEN = "prefrl.instructions"; // their text when they were last closed

export function instruct(told) {
  const question = told.question || "Which one is better?";
  $("question").textContent = question;
  document.title = `${question} · prefrl`;
  $("look-for").replaceChildren(...(told.look_for ?? []).map((text) => make("li", { textContent: text })));
  const examples = [example("Good", told.good), example("Bad", told.bad)].filter(Boolean);
  $("examples").replaceChildren(...examples);
  const panel = $("instructions");
  panel.hidden = !examples.length && !told.look_for?.length;
  const words = JSON.stringify([question, told.look_for, told.good, told.bad]);
  panel.open = memory.get(SEEN) !== words; // open on the first visit, and when they have changed
  panel.addEventListener("toggle", () => panel.open || memory.set(SEEN, words));
}

function example(title, told) {
  if (!told?.text && !told?.clip) return null;
  const card = make("figure", { className: "example" });
  if (told.clip) {
    const video = make("video", { muted: true, loop: true, playsInline: true });
    video.autoplay = !(video.controls = calm.matches);
    video.ariaLabel = `${title} example`;
    video.src = `/clips/${encodeURIComponent(told.clip)}`;
    card.append(video);
  }
  card.append(make("figcaption", {}, make("strong", { textContent: title }), ` ${told.text ?? ""}`));
  return card;
}

/** A card in place of the pair; null: none. */
export function showRest(title, text = "", undoable = false) {
  $("rest").hidden = title === null;
  if (title === null || $("rest-title").textContent === title) return;
  $("rest-title").textContent = title;
  $("rest-text").textContent = text;
  $("rest-undo").hidden = !undoable;
  $("said").textContent = `${title}. ${text}`;
}

export function note(text) {
  const close = make("button", { type: "button", className: "plain", textContent: "OK" });
  close.ariaLabel = `Dismiss: ${text}`;
  const line = make("p", { className: "banner" }, text, " ", close);
  close.addEventListener("click", () => line.remove());
  const same = Array.from($("notes").children).find((other) => other.textContent === line.textContent);
  same?.remove();
  $("notes").append(line);
}

/** One line about the way to the server, or none. */
export function showConnection(trouble, waiting, age = 0, kept = true) {
  show("banner", words(trouble, waiting, age, kept));
}

export function showPaused(why) {
  show("paused", why ? `Paused: ${why}` : "");
}

function show(id, line) {
  $(id).hidden = !line;
  if ($(id).textContent !== line) $(id).textContent = line; // said once by a screen reader
}

function words(trouble, waiting, age, kept) {
  const only = kept ? "" : " This browser keeps nothing: do not close or reload the page.";
  const here = waiting ? ` ${count(waiting, "answer")} waiting to be sent.${only}` : "";
  if (trouble?.verdict === "forbidden") {
    return `You may not label here: ${trouble.detail}.${here}`;
  }
  if (trouble?.verdict === "moved") return `Another run is labelled at this address now: reload this page.${here}`;
  if (trouble?.verdict === "busy") return `The server cannot take answers just now (${trouble.detail}).${here}`;
  if (trouble) return `The server does not answer: your answers are kept here.${here}`;
  return age > QUIET ? here.trim() : "";
}

/** Looks at the progress for as long as the page is seen; `looked(said)` after each look. */
export async function showProgress(labeller, looked) {
  const words = new URLSearchParams({ labeller });
  const look = async () => {
    if (document.hidden) return;
    const { verdict, said } = await call(`/api/progress?${words}`);
    if (verdict !== "done") return;
    draw(said);
    looked(said);
  };
  document.addEventListener("visibilitychange", look);
  for (;;) {
    await look();
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
}

function draw({ done, wanted, yours, per_minute, learned }) {
  $("progress").hidden = false;
  $("bar").max = Math.max(wanted, 1);
  $("bar").value = done;
  const own = yours === done ? "" : `, ${yours.toLocaleString("en")} of them yours`;
  $("done").textContent = `${done.toLocaleString("en")} of ${count(wanted, "answer")}${own}`;
  $("pace").textContent = per_minute > 0 ? `${per_minute.toFixed(per_minute < 10 ? 1 : 0)} a minute` : "";
  $("learned").textContent = learned ? lesson(learned) : "The reward has not learned from any answer yet";
}

function lesson({ labels, accuracy, seconds_ago }) {
  const guess = accuracy === null ? "" : `; it predicted ${Math.round(100 * accuracy)} % of the new ones`;
  const when = seconds_ago === null ? "" : ` ${ago(seconds_ago)}`;
  return `The reward learned from ${count(labels, "answer")}${when}${guess}`;
}

function ago(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3600)} h ago`;
}
