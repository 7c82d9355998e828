// Answers and undos on their way to the server: kept until it has them, sent in order, each with a name of its own.

import { memory } from "./dom.js";
import { call, pause, run, uuid } from "./server.js";

/**
 * Each item is an entry of its own in localStorage, so that two tabs do not overwrite each other's. Both may send the
 * same item: the server knows it by its id and counts it once.
 */
export class Outbox {
  /** `sent(item, said)` and `refused(item, detail)` when an item is dealt with; `changed()` after anything else. */
  constructor({ labeller, sent, refused, changed }) {
    Object.assign(this, { labeller, sent, refused, changed });
    this.shelf = `prefrl.outbox.${run ?? ""}.`;
    this.items = [];
    this.failures = 0;
    /** Why the last sending failed: {verdict, detail}. */
    this.trouble = null;
    this.kept = true;
    for (const key of memory.keys().filter((key) => key.startsWith(this.shelf)).sort()) {
      try {
        this.items.push({ ...JSON.parse(memory.get(key)), key });
      } catch {
        memory.delete(key);
      }
    }
    addEventListener("online", () => this.hurry());
    this.send();
  }

  get waiting() {
    return this.items.length;
  }

  /** Milliseconds that the first item has waited. */
  get age() {
    return this.waiting ? Date.now() - this.items[0].at : 0;
  }

  /** What this labeller has answered, and the server may not know it. */
  get queries() {
    return this.items.filter((item) => this.own(item)).map((item) => item.body.query);
  }

  answering(query) {
    return this.queries.includes(query);
  }

  /** Somebody else may have labelled in this browser before. */
  own(item) {
    return item.body.labeller === this.labeller;
  }

  add(path, facts) {
    const id = uuid();
    const last = this.items.at(-1)?.key.slice(this.shelf.length) ?? "";
    const n = Math.max(Date.now(), (parseInt(last, 10) || 0) + 1); // the order of keys is the order of time
    const item = { key: `${this.shelf}${n}.${id}`, path, body: { id, ...facts }, at: Date.now() };
    this.kept = memory.set(item.key, JSON.stringify({ path, body: item.body, at: item.at }));
    this.items.push(item);
    this.send();
    return item;
  }

  /** Sends at once what waits for the next try. */
  hurry() {
    this.failures = 0;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.send();
  }

  async send() {
    if (this.sending || this.timer) return;
    this.sending = true;
    try {
      while (this.waiting && (await this.deliver(this.items[0])));
    } finally {
      this.sending = false;
      this.changed();
    }
  }

  /** Whether to go on with the next one. */
  async deliver(item) {
    const { verdict, said, detail } = await call(item.path, item.body);
    const over = verdict === "done" || verdict === "refused";
    if (!over && (this.own(item) || verdict !== "forbidden")) {
      this.trouble = { verdict, detail };
      this.timer = setTimeout(() => {
        this.timer = undefined;
        this.send();
      }, pause(++this.failures));
      return false;
    }
    this.failures = 0;
    this.trouble = null;
    this.items = this.items.filter((other) => other !== item);
    if (over) memory.delete(item.key); // else it waits for the labeller whose it is
    if (verdict === "done") this.sent(item, said);
    if (verdict === "refused") this.refused(item, detail);
    return true;
  }
}
