// The clip of a scene that moves: which moment is shown, and the bar under the picture.
'use strict';

const SPEEDS = [1, 2, 0.25, 0.5];
const NUDGE = 0.02; // of the clip, that a key goes on or back

class Clip {
  /** `seconds` it lasts at a speed of 1; `wake()` is called when another moment is to be shown. */
  constructor(seconds, wake) {
    this.seconds = seconds;
    this.wake = wake;
    this.moment = 0;
    this.playing = false;
    this.changed = false;
    [this.play, this.bar, this.speed, this.loop] = ['play', 'moment', 'speed', 'loop'].map((id) =>
      document.getElementById(id),
    );
    this.play.onclick = () => this.setPlaying(!this.playing);
    this.loop.onclick = () => this.#press(this.loop, !this.looping);
    this.speed.onclick = () => {
      SPEEDS.push(SPEEDS.shift());
      this.speed.textContent = `${SPEEDS[0]}\u00d7`;
    };
    this.bar.oninput = () => this.go(Number(this.bar.value));
    document.getElementById('clip').hidden = false;
  }

  get looping() {
    return this.loop.getAttribute('aria-pressed') === 'true';
  }

  setPlaying(playing) {
    if (playing && this.moment >= 1) this.go(0);
    this.playing = playing;
    this.#press(this.play, playing);
    this.wake();
  }

  /** Show a moment, 0 to 1. */
  go(moment) {
    this.moment = Math.min(1, Math.max(0, moment));
    this.bar.value = this.moment;
    this.changed = true;
    this.wake();
  }

  nudge(way) {
    this.setPlaying(false);
    this.go(this.moment + way * NUDGE);
  }

  /** Let `seconds` pass; whether another moment is to be shown. */
  advance(seconds) {
    if (this.playing) {
      const next = this.moment + (seconds * SPEEDS[0]) / this.seconds;
      if (next > 1 && !this.looping) this.setPlaying(false);
      this.go(next > 1 && this.looping ? next % 1 : next);
    }
    const { changed } = this;
    this.changed = false;
    return changed;
  }

  #press(button, pressed) {
    button.setAttribute('aria-pressed', String(pressed));
  }
}
