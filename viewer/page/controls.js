// From mouse, touch and keyboard to motion of the view. What is asked for waits in `pending` and is
// done bit by bit over the next frames, which makes the steps of wheels and keys smooth.
'use strict';

const EASE = 0.05; // seconds in which most of what is pending is done
const FLIGHT = 0.45; // seconds that a change of pose takes
const TAP = { time: 300, reach: 12 }; // milliseconds and pixels within which a press is a tap
const NOTHING = { yaw: 0, pitch: 0, zoom: 0, right: 0, down: 0, ahead: 0 };

// Keys by their place on the keyboard, so that WASD is a cross on every layout.
const FLY_KEYS = {
  KeyW: [0, 0, 1], KeyS: [0, 0, -1], KeyA: [-1, 0, 0], KeyD: [1, 0, 0],
  KeyE: [0, -1, 0], KeyQ: [0, 1, 0],
};
const TURN_KEYS = {
  ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
};
const ZOOM_KEYS = { Equal: 1, NumpadAdd: 1, Minus: -1, NumpadSubtract: -1 };

class Controls {
  /**
   * `wake()` is called when there is something to do, `focus(x, y)` on a double click or tap, and
   * `mode(flying)` when flying begins or ends.
   */
  constructor(canvas, view, { wake, focus, mode }) {
    Object.assign(this, { canvas, view, wake, focus, mode });
    this.flying = false;
    this.pixels = canvas.clientHeight; // of the page, to a focal length
    this.calm = matchMedia('(prefers-reduced-motion: reduce)');
    this.stop();
    this.pressed = new Set(); // codes of keys
    this.pointers = new Map();
    this.press = null; // since the first finger or button went down: where, when, and if it moved
    this.lastTap = null;
    this.#listen();
  }

  /** Move the view by what is due after `seconds`; whether it moved. */
  advance(seconds) {
    if (this.flight) return this.#fly(seconds);
    for (const key of this.pressed) this.#hold(key, seconds);
    const { yaw, pitch, zoom, right, down, ahead } = this.pending;
    const sum = (...values) => values.reduce((all, value) => all + Math.abs(value), 0);
    if (sum(yaw, pitch, zoom) + sum(right, down, ahead) / this.view.radius < 1e-5) return false;
    this.#do(this.calm.matches ? 1 : 1 - Math.exp(-seconds / EASE));
    return true;
  }

  /** A share of what is pending. */
  #do(share) {
    const { pending, view } = this;
    const due = {};
    for (const name of Object.keys(pending)) {
      due[name] = pending[name] * share;
      pending[name] -= due[name];
    }
    if (this.flying) view.look(due.yaw, due.pitch);
    else view.orbit(due.yaw, due.pitch);
    if (due.yaw || due.pitch) view.level(share / 2);
    view.move(due.right, due.down, due.ahead);
    view.dolly(due.zoom);
  }

  setFlying(flying) {
    this.flying = flying;
    this.mode(flying);
    if (!flying && document.pointerLockElement) document.exitPointerLock();
  }

  /** Forget what is still to be done. */
  stop() {
    this.pending = { ...NOTHING };
    this.flight = null;
  }

  /** Go to a pose: at once where less motion is preferred. */
  fly(pose) {
    this.stop();
    this.flight = { from: this.view.pose, to: pose, done: this.calm.matches ? 1 : 0 };
    this.wake();
  }

  #fly(seconds) {
    const { flight } = this;
    flight.done = Math.min(1, flight.done + seconds / FLIGHT);
    const eased = flight.done ** 2 * (3 - 2 * flight.done);
    this.view.pose = View.between(flight.from, flight.to, eased);
    if (flight.done === 1) this.flight = null;
    return true;
  }

  /** What a key adds while it is held down. */
  #hold(key, seconds) {
    const { pending } = this;
    if (key in FLY_KEYS) {
      const faster = this.pressed.has('ShiftLeft') || this.pressed.has('ShiftRight') ? 4 : 1;
      const step = 0.5 * faster * this.view.radius * seconds;
      ['right', 'down', 'ahead'].forEach((axis, i) => (pending[axis] += FLY_KEYS[key][i] * step));
    } else if (key in TURN_KEYS) {
      // Arrows turn the head when flying; in orbit they turn the scene, as dragging does.
      const step = (this.flying ? 1.2 : -1.2) * seconds;
      pending.yaw += TURN_KEYS[key][0] * step;
      pending.pitch += TURN_KEYS[key][1] * step;
    } else if (key in ZOOM_KEYS) {
      pending.zoom += ZOOM_KEYS[key] * 1.2 * seconds;
    }
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener('pointerdown', (event) => this.#down(event));
    canvas.addEventListener('pointermove', (event) => this.#moved(event));
    canvas.addEventListener('pointerup', (event) => this.#up(event));
    canvas.addEventListener('pointercancel', (event) => this.#up(event, true));
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    canvas.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    addEventListener('keydown', (event) => this.#key(event));
    addEventListener('keyup', (event) => this.pressed.delete(event.code));
    // Keys let go of elsewhere are never heard of.
    addEventListener('blur', () => this.pressed.clear());
  }

  #ask(motion) {
    this.flight = null;
    for (const [name, value] of Object.entries(motion)) this.pending[name] += value;
    this.wake();
  }

  #key(event) {
    const { code } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) {
      return;
    }
    if (code in FLY_KEYS && !this.flying) this.setFlying(true);
    if (code in TURN_KEYS || code in ZOOM_KEYS) event.preventDefault();
    this.pressed.add(code);
    if (event.repeat) return;
    // A short press counts even where it ends before the next frame begins.
    if (code in FLY_KEYS || code in TURN_KEYS || code in ZOOM_KEYS) this.#ask(NOTHING);
    this.#hold(code, 1 / 30);
  }

  #wheel(event) {
    event.preventDefault();
    const lines = [1, 16, this.canvas.clientHeight][event.deltaMode];
    // Pinching on a trackpad arrives as a wheel with Ctrl, in much smaller steps.
    const rate = event.ctrlKey ? 0.01 : 0.0012;
    this.#ask({ zoom: Math.max(-1, Math.min(1, -event.deltaY * lines * rate)) });
  }

  #down(event) {
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    if (this.pointers.size === 0) {
      this.press = { x: event.clientX, y: event.clientY, time: event.timeStamp, moved: false };
    } else {
      this.press.moved = true; // two fingers are no tap
    }
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.flight = null;
    if (this.flying && event.pointerType === 'mouse' && event.button === 0) {
      // The mouse then turns without end; where a browser refuses, dragging still works.
      Promise.resolve(this.canvas.requestPointerLock?.()).catch(() => {});
    }
  }

  #moved(event) {
    if (document.pointerLockElement === this.canvas) {
      this.#turn(event.movementX, event.movementY, true);
      return;
    }
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const before = this.#hand();
    const [x, y] = [event.clientX, event.clientY];
    this.pointers.set(event.pointerId, { x, y });
    if (Math.hypot(x - this.press.x, y - this.press.y) > TAP.reach) this.press.moved = true;
    const after = this.#hand();
    const [dx, dy] = [after.x - before.x, after.y - before.y];
    if (this.pointers.size > 1) {
      this.#pan(dx, dy);
      this.#ask({ zoom: Math.log(after.spread / before.spread) });
    } else if (event.shiftKey || event.buttons & 6) {
      this.#pan(dx, dy);
    } else {
      this.#turn(dx, dy, event.pointerType === 'mouse');
    }
  }

  /** Middle of the fingers, and how far they are apart. */
  #hand() {
    const all = [...this.pointers.values()];
    const x = all.reduce((sum, finger) => sum + finger.x, 0) / all.length;
    const y = all.reduce((sum, finger) => sum + finger.y, 0) / all.length;
    const spread = Math.max(8, ...all.map((finger) => 2 * Math.hypot(finger.x - x, finger.y - y)));
    return { x, y, spread };
  }

  /** Turn the scene under the pointer, or when flying the head: as a mouse does, or a finger. */
  #turn(dx, dy, mouse) {
    const half = this.flying ? (mouse ? -1 : 1) * 0.9 : -Math.PI;
    const rate = half / this.canvas.clientHeight;
    this.#ask({ yaw: dx * rate, pitch: dy * rate });
  }

  #pan(dx, dy) {
    const unit = this.view.distance / this.pixels;
    this.#ask({ right: -dx * unit, down: -dy * unit });
  }

  #up(event, cancelled = false) {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size > 0) return;
    const { press } = this;
    const tap = !cancelled && !press.moved && event.timeStamp - press.time < TAP.time;
    if (!tap || event.button > 0) return;
    const last = this.lastTap;
    const near = last && Math.hypot(last.x - press.x, last.y - press.y) < 2 * TAP.reach;
    if (near && press.time - last.time < 1.5 * TAP.time) {
      this.lastTap = null;
      this.focus(press.x, press.y);
    } else {
      this.lastTap = press;
    }
  }
}
