// The pairs on hand: downloaded and decoded before it is their turn.

import { $, make } from "./dom.js";
import { call, pause } from "./server.js";

const AHEAD = 3; // pairs ready behind the one that is shown: more than a person can answer during one download
const MOST = 10; // what the server gives at most
const LEASE = 60_000; // ms without a word from us after which the server may have given our pairs to others
const SOON = 1_000;
const HEARTBEAT = 20_000;
const LOADING = 15_000; // ms for a downloaded clip to show its first frame

/** One question, with what is shown left and right, hidden until `show`. */
export class Pair {
  constructor(told) {
    this.query = told.query;
    this.prompt = told.prompt ?? null;
    this.sides = [told.left, told.right];
    this.nodes = this.sides.map(({ clip }) => (clip ? make("video", { muted: true, playsInline: true }) : make("div")));
    this.urls = [];
    this.loaded = false;
    this.shown = false;
    this.gone = false;
    for (const [i, node] of this.nodes.entries()) {
      node.hidden = true;
      node.ariaLabel = i ? "Right" : "Left";
      if (this.sides[i].clip) node.addEventListener("error", () => this.loaded && !this.gone && this.failed());
      else Object.assign(node, { className: "text", textContent: this.sides[i].text ?? "", role: "group" });
      $(i ? "right" : "left").append(node);
    }
  }

  get videos() {
    return this.nodes.filter((node) => node instanceof HTMLVideoElement);
  }

  /** Resolves when both sides can be painted without waiting; rejects when one of them cannot be played. */
  async load() {
    this.loaded = false;
    if (this.sides.some(({ clip, text }) => !clip && text === undefined)) throw new Error("there is nothing to show");
    await Promise.all(this.nodes.map((node, i) => this.sides[i].clip && this.fill(node, this.sides[i].clip)));
    this.loaded = true;
  }

  async fill(video, clip) {
    try {
      await this.decode(video, await this.download(clip, "default"));
    } catch {
      if (!this.gone) await this.decode(video, await this.download(clip, "reload")); // once more, past the cache
    }
  }

  async download(clip, cache) {
    for (let failures = 1; !this.gone; failures++) {
      const reply = await fetch(clip, { cache }).catch(() => null);
      const blob = reply?.ok && (await reply.blob().catch(() => null));
      if (blob && (await intact(clip, blob))) return blob;
      if (blob) throw new Error("the clip is damaged");
      if (reply && [404, 410, 416].includes(reply.status)) throw new Error("the clip is not there");
      await new Promise((resolve) => setTimeout(resolve, pause(failures)));
    }
    throw new Error("nobody waits for it any more");
  }

  async decode(video, blob) {
    if (this.gone) throw new Error("nobody waits for it any more");
    const url = URL.createObjectURL(blob);
    this.urls.push(url);
    let timer;
    try {
      await new Promise((resolve, reject) => {
        const late = () => {
          if (!document.hidden) reject(new Error("the clip shows nothing"));
          else timer = setTimeout(late, LOADING); // browsers let hidden pages wait
        };
        timer = setTimeout(late, LOADING);
        video.addEventListener("canplaythrough", resolve, { once: true });
        video.addEventListener("error", () => reject(new Error("the clip does not play")), { once: true });
        video.preload = "auto";
        video.src = url;
      });
    } finally {
      clearTimeout(timer); // it would hold the clip in memory
    }
  }

  show(shown = true) {
    this.shown = shown;
    for (const node of this.nodes) node.hidden = !shown;
  }

  /** Gives back all memory. */
  drop() {
    this.gone = true;
    for (const video of this.videos) {
      video.pause();
      video.removeAttribute("src");
      video.load();
    }
    for (const node of this.nodes) node.remove();
    for (const url of this.urls) URL.revokeObjectURL(url);
  }
}

/** A clip's name is the SHA-256 of its bytes; plain http from another machine has no means to check. */
async function intact(clip, blob) {
  const name = clip.match(/([0-9a-f]{64})\.webm$/)?.[1];
  if (!name || !crypto.subtle) return true;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
  return name === Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function playable({ left, right }) {
  return !(left.clip || right.clip) || document.createElement("video").canPlayType('video/webm; codecs="vp9"') !== "";
}

/** Asks for pairs so that there are always some on hand, and says which are to be shown. */
export class Hand {
  /**
   * What became of a pair: `ready()`, `failed(pair)` while it plays, `broken(pair)`, `lost(pair)`; `changed()`: the state
   * or the connection.
   */
  constructor({ labeller, outbox, ready, failed, broken, lost, changed }) {
    Object.assign(this, { labeller, outbox, ready, failed, broken, lost, changed });
    this.pairs = [];
    /** "ready", "waiting", "done", "paused" as the server says; "asking" at first, "unplayable" if we cannot. */
    this.state = "asking";
    this.message = null;
    this.trouble = null;
    this.failures = 0;
    /** query -> moment of our answer or Infinity while it is unsent: replies asked for before may still contain it. */
    this.answered = new Map();
    this.moment = 0;
    this.heard = performance.now();
    for (const query of outbox.queries) this.answered.set(query, Infinity);
    document.addEventListener("visibilitychange", () => document.hidden || this.ask());
    addEventListener("online", () => this.ask());
  }

  get next() {
    return this.pairs.find((pair) => pair.loaded);
  }

  take(pair) {
    this.pairs = this.pairs.filter((other) => other !== pair);
    this.answered.set(pair.query, Infinity);
  }

  /** The server has our answer: what it gives out from now on is a new question, even if it is the same pair. */
  arrived(query) {
    if (!this.outbox.answering(query)) this.answered.set(query, ++this.moment);
  }

  /** A pair whose answer was taken back comes first. */
  back(pair) {
    this.moment++;
    this.answered.delete(pair.query);
    this.pairs = [pair, ...this.pairs.filter((other) => other.query !== pair.query)];
  }

  holds(query) {
    return this.pairs.some((pair) => pair.query === query);
  }

  /** Hidden pages do not ask: their leases run out, and others get the pairs. */
  async ask() {
    if (document.hidden) return;
    if (this.asking) {
      this.again = true;
      return;
    }
    clearTimeout(this.timer);
    this.asking = true;
    const asked = ++this.moment;
    const n = Math.min(MOST, Math.max(AHEAD + 1, this.pairs.length) + this.outbox.waiting);
    const holding = this.pairs.map((pair) => pair.query).join(",");
    const words = new URLSearchParams({ labeller: this.labeller, n, ...(holding && { holding }) });
    const { verdict, said, detail } = await call(`/api/next?${words}`);
    this.asking = false;
    if (verdict === "done") this.takeIn(said, asked, n);
    else this.trouble = { verdict, detail };
    this.failures = verdict === "done" ? 0 : this.failures + 1;
    this.timer = setTimeout(() => this.ask(), this.again ? 0 : this.wait());
    this.again = false;
    this.changed();
  }

  takeIn({ pairs, state, message }, asked, n) {
    const away = performance.now() - this.heard > LEASE;
    Object.assign(this, { state, message, trouble: null, heard: performance.now() });
    // What we hold comes first in a reply: where something else came, or less than we asked for, nothing was left out.
    const whole = pairs.length < n || pairs.some(({ query }) => !this.holds(query));
    if (asked === this.moment && !this.outbox.waiting && whole) this.reconcile(pairs, away);
    for (const told of pairs) {
      if (this.holds(told.query) || this.answered.get(told.query) > asked) continue;
      if (playable(told)) this.add(new Pair(told));
      else this.state = "unplayable";
    }
    for (const [query, moment] of this.answered) if (moment < asked) this.answered.delete(query);
  }

  /** Drops what others have now; the pair on the screen only after a long absence, or when all is answered. */
  reconcile(told, away) {
    const ours = new Set(told.map((pair) => pair.query));
    for (const pair of this.pairs.filter((pair) => !ours.has(pair.query))) {
      if (pair.shown && !away && this.state !== "done") continue;
      this.pairs = this.pairs.filter((other) => other !== pair);
      this.lost(pair);
    }
  }

  add(pair) {
    if (!this.pairs.includes(pair)) this.pairs.push(pair);
    pair.failed = () => {
      if (!this.pairs.includes(pair)) return; // answered before: it was seen
      pair.failed = () => this.pairs.includes(pair) && this.broken(pair);
      pair.loaded = false;
      this.failed(pair);
      this.load(pair); // once more: a decoder that crashed takes sound clips with it
    };
    pair.coming = this.load(pair);
  }

  /** Puts the pair of an undo before the others; resolves when it can be shown. */
  async first(told) {
    const held = this.pairs.find((pair) => pair.query === told.query);
    const pair = held ?? new Pair(told);
    this.back(pair);
    if (!held) this.add(pair);
    await pair.coming;
  }

  async load(pair) {
    try {
      await pair.load();
      if (this.pairs.includes(pair)) this.ready();
    } catch {
      if (!pair.gone && this.pairs.includes(pair)) this.broken(pair);
    }
  }

  wait() {
    if (this.failures) return pause(this.failures);
    if (this.pairs.length > AHEAD) return HEARTBEAT;
    return this.state === "done" ? 3 * SOON : SOON;
  }
}
