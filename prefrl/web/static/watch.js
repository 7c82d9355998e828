// How long an answer took.

/** Seconds since the last `restart` was painted; time in which the page was hidden does not count. */
export class Watch {
  constructor() {
    this.before = 0;
    this.since = null; // null: not running
    this.painting = 0;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.hold() : this.go()));
  }

  restart() {
    cancelAnimationFrame(this.painting);
    this.before = 0;
    this.since = null;
    this.painting = requestAnimationFrame(() => this.go());
  }

  go() {
    this.since ??= performance.now();
  }

  hold() {
    this.before = this.seconds();
    this.since = null;
  }

  seconds() {
    return this.before + (this.since === null ? 0 : (performance.now() - this.since) / 1000);
  }
}
