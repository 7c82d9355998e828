// Figures about labellers and their agreement, refreshed while somebody looks.

import { $, make } from "./dom.js";
import { call } from "./server.js";

const POLL = 3_000; // ms
const BIASED = 3; // standard deviations
const NONE = "–";

const whole = (n) => n.toLocaleString("en");
const share = (p) => (p === null ? NONE : `${Math.round(100 * p)} %`);
const fixed = (x, digits) => (x === null ? NONE : x.toFixed(digits).replace("-", "\u2212"));

const LABELLER = [
  ["Labeller", (one) => one.labeller],
  ["Answers", (one) => whole(one.labels)],
  ["Ties", (one) => whole(one.ties)],
  ["Cannot tell", (one) => whole(one.cannot_tell)],
  ["Undone", (one) => whole(one.undone)],
  ["Broken clips", (one) => whole(one.broken)],
  ["Median seconds", (one) => fixed(one.seconds, 1)],
  ["Left share", (one) => share(one.left_share)],
  ["z", (one) => fixed(one.left_z, 1) + (Math.abs(one.left_z) > BIASED ? " biased" : "")],
  ["Repeats agree", (one) => (one.repeats ? `${share(one.repeat_agreement)} of ${whole(one.repeats)}` : NONE)],
];

const TOGETHER = [
  ["Answers wanted", (all) => whole(all.wanted)],
  ["Questions asked", (all) => whole(all.counts.asked)],
  ["Answers", (all) => whole(all.counts.labelled)],
  ["Cannot tell", (all) => whole(all.counts.skipped)],
  ["Open questions", (all) => whole(all.counts.unanswered)],
  ["Questions with a broken clip", (all) => whole(all.counts.broken)],
  ["Questions withdrawn", (all) => whole(all.counts.stale)],
  ["Questions that several answered", (all) => whole(all.overlapping)],
  ["Agreement (alpha)", (all) => fixed(all.alpha, 2)],
];

function row(head, cells) {
  const first = make("th", { scope: "row", textContent: head });
  return make("tr", {}, first, ...cells.map((text) => make("td", { textContent: text })));
}

function draw(said) {
  $("labellers").replaceChildren(
    ...said.labellers.map((one) => {
      const [name, ...cells] = LABELLER.map(([, text]) => text(one));
      return row(name, cells);
    }),
  );
  if (!said.labellers.length) $("labellers").append(row("Nobody has answered yet", LABELLER.slice(1).map(() => "")));
  $("together").replaceChildren(...TOGETHER.map(([name, text]) => row(name, [text(said)])));
  $("fresh").textContent = `as of ${new Date().toLocaleTimeString("en-GB")}`;
}

async function look() {
  if (document.hidden) return;
  const { verdict, said, detail } = await call("/api/admin");
  $("banner").hidden = verdict === "done";
  if (verdict === "done") draw(said);
  else if ($("banner").textContent !== detail) $("banner").textContent = detail;
}

$("labeller-columns").append(...LABELLER.map(([name]) => make("th", { scope: "col", textContent: name })));
document.addEventListener("visibilitychange", look);
for (;;) {
  await look();
  await new Promise((resolve) => setTimeout(resolve, POLL));
}
