// The labelling page: one pair after the other, each answer on its way before the next pair is looked at.

import { $, memory, say } from "./dom.js";
import { Outbox } from "./outbox.js";
import { instruct, note, showConnection, showPaused, showProgress, showRest } from "./panels.js";
import { Hand } from "./pairs.js";
import { Player } from "./player.js";
import { call, pause } from "./server.js";
import { Watch } from "./watch.js";

const TOO_SOON = 150; // ms: nobody has seen a pair so fast; it is the same key bouncing or hit twice
const A_DAY = 86_400; // s: the server takes no longer thought
const REMEMBERED = 3; // answered pairs that an undo shows at once
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const stacked = matchMedia("(max-width: 599px)");

const watch = new Watch();
const past = []; // {pair, query}: the last few, newest at the end
let labeller, outbox, hand, shown, player;
let speed = 1;
let started = false; // by hand, where motion is not welcome

begin();

async function begin() {
  const told = await instructions();
  instruct(told);
  labeller = told.labeller ?? (await nameOf());
  memory.set("prefrl.labeller", labeller);
  $("name").textContent = labeller;
  $("rename").hidden = Boolean(told.labeller); // a token fixes the name
  $("me").hidden = false;
  outbox = new Outbox({ labeller, sent, refused, changed: refresh });
  hand = new Hand({ labeller, outbox, ready: () => next(), failed, broken, lost, changed: refresh });
  wire();
  hand.ask();
  showProgress(labeller, ({ message }) => {
    hand.message = message;
    refresh();
  });
}

/** What the page needs before it can say anything; asked until it is there. */
async function instructions() {
  for (let failures = 1; ; failures++) {
    const { verdict, said, detail } = await call("/api/instructions");
    if (verdict === "done") return said;
    showConnection({ verdict, detail }, 0);
    await new Promise((resolve) => setTimeout(resolve, pause(failures)));
  }
}

/** From the address, from last time, or from the form. */
async function nameOf() {
  const known = tidy(new URLSearchParams(location.search).get("labeller")) || tidy(memory.get("prefrl.labeller"));
  if (known && !memory.get("prefrl.rename")) return known;
  memory.delete("prefrl.rename");
  $("welcome").hidden = false;
  $("labeller").value = known || "me";
  $("labeller").select();
  return new Promise((resolve) => {
    $("welcome").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = tidy($("labeller").value);
      if (!name) return;
      $("welcome").hidden = true;
      resolve(name);
    });
  });
}

/** As the server takes it. */
function tidy(text) {
  const letters = Array.from((text ?? "").replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/gu, "").trim());
  return letters.slice(0, 64).join("").trim();
}

function rename() {
  memory.set("prefrl.rename", "1");
  location.assign("/"); // without ?labeller=, and with nothing of the other labeller's in memory
}

/** Shows what is next in the hand; a pair that somebody looks at stays, unless another one is wanted `instead`. */
function next(instead = false) {
  const pair = !instead && hand.pairs.includes(shown) ? shown : hand.next;
  if (pair === shown) return refresh();
  leave();
  shown = pair;
  if (pair) {
    document.body.dataset.query = pair.query;
    $("prompt").hidden = pair.prompt === null;
    $("prompt").textContent = pair.prompt ?? "";
    for (const group of document.querySelectorAll(".playback")) group.hidden = !pair.videos.length;
    $("stage").hidden = false;
    pair.show();
    if (pair.videos.length) {
      player = new Player(pair.videos);
      playing(player.start(speed, calm.matches && !started));
    }
    watch.restart();
  }
  refresh();
}

/** Takes the shown pair off the screen. */
function leave() {
  player?.stop();
  player = null;
  shown?.show(false);
  shown = null;
  delete document.body.dataset.query;
}

function answer(preference) {
  if (!shown || watch.seconds() * 1000 < TOO_SOON) return;
  const pair = shown;
  const query = pair.query;
  const seconds = Math.min(Math.round(watch.seconds() * 1000) / 1000, A_DAY);
  outbox.add("/api/answer", { query, preference, labeller, seconds });
  past.push({ pair, query });
  if (past.length > REMEMBERED) past.shift().pair.drop();
  hand.take(pair);
  const name = named(preference);
  next();
  $("last").textContent = `Last: ${name}`;
  say(shown ? `${name}. Next pair.` : `${name}.`);
  hand.ask();
}

function named(preference) {
  if (preference === null) return "cannot tell";
  if (preference === 0.5) return "equally good";
  if (stacked.matches) return preference ? "upper is better" : "lower is better";
  return preference ? "left is better" : "right is better";
}

/** Shows the pair again at once if it is still in memory; else when the server has said which it was. */
function undo() {
  const last = past.pop();
  outbox.add("/api/undo", { labeller }).query = last?.query;
  $("last").textContent = "";
  if (!last) return say("Taking back the answer before.");
  hand.back(last.pair);
  next(true);
  say("Taken back: the pair is here again.");
}

function sent({ path, body, query }, said) {
  if (body.labeller !== labeller) return;
  if (path === "/api/answer") return hand.arrived(body.query);
  if (!said.undone) return note("There is no answer of yours to undo.");
  const known = said.undone.query === query || outbox.answering(said.undone.query);
  if (!known) hand.first(said.undone).then(() => next(true));
}

/** The server will never take this item: it goes, and says so. */
function refused({ path, body }, detail) {
  note(`${path === "/api/answer" ? "An answer" : "An undo"} was refused and does not count: ${detail}`);
  if (!body.query || body.labeller !== labeller) return;
  const i = past.findIndex((one) => one.query === body.query);
  if (i >= 0) past.splice(i, 1)[0].pair.drop();
  hand.arrived(body.query);
}

/** A clip stopped playing; it is loaded again. */
function failed(pair) {
  if (pair === shown) leave();
  next();
}

/** Nobody can answer about a clip that does not play: the server closes the question, and here the next one comes. */
function broken(pair) {
  outbox.add("/api/answer", { query: pair.query, preference: null, labeller, seconds: 0, broken: true });
  hand.take(pair);
  if (pair === shown) {
    leave();
    note("A clip did not play: reported, and left out.");
  }
  pair.drop();
  next();
  hand.ask();
}

function lost(pair) {
  if (pair === shown) {
    leave();
    say("That question is no longer asked. Next pair.");
  }
  pair.drop();
  next();
}

/** All that depends on what is shown, on the hand and on the outbox. */
function refresh() {
  if (!hand) return;
  $("stage").hidden = !shown;
  if (shown) showRest(null);
  else showRest(...resting());
  showConnection(outbox.trouble ?? hand.trouble, outbox.waiting, outbox.age, outbox.kept);
  showPaused(hand.message);
}

function resting() {
  if (hand.pairs.length || hand.state === "asking") return ["One moment", "The next pair is on its way."];
  if (hand.state === "unplayable") return ["This browser cannot play the clips", "Use one that plays VP9 in WebM."];
  if (hand.state === "done") return ["All answers are in, thank you", "You can close this page.", true];
  if (hand.state === "paused") return ["Paused", "New pairs come when the run goes on.", true];
  return ["Waiting for clips", "The next pair appears here by itself.", true];
}

function wire() {
  const press = (node, action) => node.addEventListener("click", (event) => {
    if (event.detail) node.blur(); // a finger or a mouse: or the space bar would press it again
    action();
  });
  const on = (id, action) => press($(id), action);
  on("prefer-left", () => answer(1));
  on("prefer-right", () => answer(0));
  on("tie", () => answer(0.5));
  on("skip", () => answer(null));
  on("undo", undo);
  on("rest-undo", undo);
  on("rename", rename);
  on("replay", () => player && playing(player.replay()));
  on("pause", pauseOrPlay);
  on("play-big", pauseOrPlay);
  on("help-open", () => $("help").showModal());
  on("help-close", () => $("help").close());
  for (const button of document.querySelectorAll("[data-speed]")) {
    press(button, () => setSpeed(Number(button.dataset.speed)));
  }
  press(document.querySelector("summary"), () => {});
  document.addEventListener("keydown", key);
  document.addEventListener("visibilitychange", () => document.hidden || !player?.playing || playing(player.replay()));
  setInterval(refresh, 1000);
}

const KEYS = {
  ArrowLeft: () => answer(1),
  ArrowRight: () => answer(0),
  ArrowUp: () => answer(0.5),
  "=": () => answer(0.5),
  ArrowDown: () => answer(null),
  u: undo,
  r: () => player && playing(player.replay()),
  " ": pauseOrPlay,
  1: () => setSpeed(1),
  2: () => setSpeed(0.5),
  3: () => setSpeed(2),
  "?": () => $("help").showModal(),
};

function key(event) {
  const { target } = event;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  const pressing = target.closest?.("button, summary, a, video[controls]");
  if (pressing && event.repeat && event.key === "Enter") event.preventDefault(); // a held key counts once
  if (!action || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if ($("help").open || target.closest?.("input, textarea, select, [contenteditable]")) return;
  if (pressing && event.key === " ") return; // presses what has the focus
  event.preventDefault();
  if (!event.repeat) action();
}

function pauseOrPlay() {
  if (!player) return;
  if (player.playing) player.pause();
  else {
    started = true;
    playing(player.play());
  }
  showPlaying();
}

function setSpeed(rate) {
  speed = rate;
  player?.speed(rate);
  for (const button of document.querySelectorAll("[data-speed]")) {
    button.ariaPressed = String(Number(button.dataset.speed) === rate);
  }
}

async function playing(begun) {
  showPlaying();
  await begun;
  showPlaying();
}

function showPlaying() {
  $("pause-word").textContent = player?.playing ? "Pause" : "Play";
  $("play-big").hidden = !player || player.playing;
}
