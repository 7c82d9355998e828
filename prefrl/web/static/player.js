// Two clips on one clock.

/** Starts, loops, pauses and changes the speed of two videos as if they were one. */
export class Player {
  constructor(videos) {
    this.videos = videos;
    this.turn = 0; // what was begun in an earlier turn is not finished
    this.playing = false;
    this.wish = new AbortController();
    for (const video of videos) {
      video.addEventListener("ended", () => this.loop(), { signal: this.wish.signal });
    }
  }

  /** Shows the first frames, and goes on from there unless `still`. */
  async start(speed, still = false) {
    this.speed(speed);
    await this.rewind(!still);
  }

  async replay() {
    await this.rewind(true);
  }

  async play() {
    this.playing = true;
    if (this.videos.every((video) => video.ended)) await this.rewind(true);
    else await this.together();
  }

  pause() {
    this.turn++;
    this.playing = false;
    for (const video of this.videos) video.pause();
    const [left, right] = this.videos;
    const now = Math.min(left.currentTime, right.currentTime);
    for (const video of this.videos) {
      if (!video.ended && video.currentTime > now) video.currentTime = now; // to go on together
    }
  }

  speed(rate) {
    for (const video of this.videos) video.playbackRate = rate;
  }

  stop() {
    this.wish.abort();
    this.turn++;
    for (const video of this.videos) video.pause();
  }

  loop() {
    if (this.videos.every((video) => video.ended)) this.rewind(true);
  }

  async rewind(then) {
    const turn = ++this.turn;
    this.playing = then;
    for (const video of this.videos) video.pause();
    await Promise.all(this.videos.map(toStart));
    if (turn === this.turn && then) await this.together();
  }

  async together() {
    const turn = ++this.turn;
    try {
      await Promise.all(this.videos.filter((video) => !video.ended).map((video) => video.play()));
    } catch {
      if (turn === this.turn) this.playing = false; // the browser wants a gesture first: the play button is there
    }
  }
}

async function toStart(video) {
  if (video.currentTime === 0 && !video.seeking) return;
  const arrived = new Promise((resolve) => video.addEventListener("seeked", resolve, { once: true }));
  video.currentTime = 0;
  await arrived;
}
