// When to draw, and how finely: nothing is drawn while nothing changes; while the camera moves the
// picture gets coarser if frames are slow, and it is drawn in full once the camera rests.
'use strict';

const FINEST = 2; // pixels of the picture for each of the page's, a side
const MOST_PIXELS = 1 << 22;
const COARSEST = 0.35; // of the full size, a side
const SLOW = 1 / 28; // seconds a frame
const FAST = 1 / 50;
const RESTED = 150; // milliseconds without motion until the full picture is drawn
const FIELD = 0.9; // radians across the window's shorter side, where the scene does not say
const BLACK = [0, 0, 0];
const SAMPLES = 24; // a side, to which a picture is shrunk whose border is looked at

class Stage {
  /**
   * `ask(message)` resolves to the worker's answer; `told(frames)` hears of frames a second. `reach`
   * is how far from the `middle` photographs were taken; null where that is not known.
   */
  constructor(renderer, view, controls, { clip, lens, near, middle, reach, ask, told }) {
    Object.assign(this, { renderer, view, controls, clip, lens, near, middle, reach, ask, told });
    this.canvas = renderer.canvas;
    this.pinned = null; // lens and size of a camera that the page is told to show exactly
    this.behind = BLACK; // of pictures that nobody asked for exactly
    this.share = 1; // of the full size, while moving
    this.pace = 0; // seconds a frame, smoothed
    this.order = new Uint32Array(renderer.scene.row * renderer.scene.height);
    this.sorting = null;
    this.stale = false;
    this.waiting = 0;
    this.running = false; // frame after frame, as something moves
    this.last = 0;
    this.moved = -Infinity;
    new ResizeObserver(() => this.wake()).observe(this.canvas);
  }

  /** Draw soon. */
  wake() {
    if (!this.waiting) this.waiting = requestAnimationFrame((time) => this.#frame(time));
  }

  /** Draw soon what may have to be sorted anew, although nothing moved. */
  refresh() {
    this.stale = true;
    this.wake();
  }

  /** Whether the full picture is drawn and nothing moves. */
  get resting() {
    return !this.running && !this.waiting && !this.sorting;
  }

  /** The camera as shown: `splat.types.Camera` of the Python side, in plain numbers. */
  camera() {
    const { fx, fy, cx, cy, width, height } = this.pinned ?? this.#fitted();
    const K = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]];
    return { world_to_camera: this.view.worldToCamera, K, width, height };
  }

  /** Show exactly what a camera sees, sorted for it, until somebody moves. */
  async look({ world_to_camera, K, width, height }) {
    this.controls.stop();
    this.view.place(world_to_camera);
    this.pinned = { fx: K[0][0], fy: K[1][1], cx: K[0][2], cy: K[1][2], width, height };
    await this.settled();
  }

  /** The full picture of the present camera, drawn from an order made for it. */
  async settled() {
    while (this.sorting) await this.sorting;
    await this.#sort();
    this.#draw(1);
  }

  /** The mean colour along the border of what a camera sees: what lies beyond is most like it. */
  async borderOf(camera) {
    await this.look(camera);
    // In the same task as drawing: the canvas is emptied once it has been shown.
    const small = document.createElement('canvas');
    [small.width, small.height] = [SAMPLES, SAMPLES];
    const context = small.getContext('2d');
    context.drawImage(this.canvas, 0, 0, SAMPLES, SAMPLES);
    const { data } = context.getImageData(0, 0, SAMPLES, SAMPLES);
    const last = SAMPLES - 1;
    const sum = [0, 0, 0, 0];
    for (let pixel = 0; pixel < SAMPLES * SAMPLES; pixel++) {
      const [x, y] = [pixel % SAMPLES, Math.floor(pixel / SAMPLES)];
      if (x > 0 && x < last && y > 0 && y < last) continue;
      [0, 1, 2].forEach((channel) => (sum[channel] += data[4 * pixel + channel] / 255));
      sum[3] += 1;
    }
    this.pinned = null;
    return sum.slice(0, 3).map((value) => value / sum[3]);
  }

  /** A place of the page as a ray in the world, and the depth from which it meets anything. */
  ray(x, y) {
    const { fx, fy, cx, cy, width, height } = this.pinned ?? this.#fitted();
    const box = this.canvas.getBoundingClientRect();
    const scale = Math.max(width / box.width, height / box.height); // as object-fit: contain does
    const u = (x - box.left - box.width / 2) * scale + width / 2;
    const v = (y - box.top - box.height / 2) * scale + height / 2;
    const [right, down, forward] = this.view.rotation;
    const across = vectors.scale(right, (u - cx) / fx);
    const below = vectors.scale(down, (v - cy) / fy);
    const direction = vectors.unit([across, below, forward].reduce(vectors.add));
    return { origin: this.view.eye, direction, forward, near: this.#near };
  }

  /**
   * Depth from which Gaussians are drawn. It hides what hangs in the air where the photographs were
   * taken from; whoever comes closer than that to the scene itself wants to see it, though. And from
   * farther away than any photograph the scene is looked into: walls behind those who took them,
   * seen from outside, would hide all of it. Whoever flies meets everything.
   */
  get #near() {
    const { near, pinned, view, middle, reach } = this;
    if (pinned) return near;
    const inward = vectors.subtract(middle, view.eye);
    const away = vectors.length(inward);
    const own = Math.min(near, 0.5 * view.distance, Math.max(0.5 * away, 0.01 * view.radius));
    if (reach === null || this.controls.flying) return own;
    return Math.max(own, vectors.dot(inward, view.forward) - reach);
  }

  #frame(time) {
    this.waiting = 0;
    if (this.renderer.busy) return this.wake();
    // The first frame after a rest knows nothing of how long frames take.
    const seconds = this.running ? (time - this.last) / 1000 : 1 / 60;
    this.last = time;
    const moves = this.controls.advance(Math.min(seconds, 0.1));
    if (moves) this.pinned = null;
    if (this.clip?.advance(this.running ? seconds : 0) || moves) {
      if (this.running) this.#measure(seconds);
      this.moved = time;
      this.stale = true;
    }
    if (this.stale && !this.sorting) this.#sort();
    this.running = time - this.moved < RESTED;
    this.#draw(this.running ? this.share : 1);
    if (this.running) this.wake();
  }

  #measure(seconds) {
    this.pace = this.pace ? 0.85 * this.pace + 0.15 * seconds : seconds;
    this.told(1 / this.pace);
    if (this.pace > SLOW && this.share > COARSEST) {
      const less = Math.min(0.9, Math.max(0.5, Math.sqrt(SLOW / this.pace)));
      this.share = Math.max(COARSEST, this.share * less);
      this.pace = 0; // of the next size nothing is known yet
    } else if (this.pace < FAST && this.share < 1) {
      this.share = Math.min(1, this.share * 1.04);
    }
  }

  #sort() {
    this.stale = false;
    const { view, order } = this;
    const offset = -vectors.dot(view.forward, view.eye);
    const moment = this.clip?.moment ?? 0;
    const message = { about: 'sort', forward: view.forward, offset, near: this.#near, order, moment };
    this.sorting = this.ask(message, [order.buffer]).then(({ order, count }) => {
      this.order = order;
      this.sorting = null;
      this.renderer.arrange(order, count);
      this.wake();
    });
    return this.sorting;
  }

  /** Lens and size for the page's window: what the lens shows fits in, whole. */
  #fitted() {
    const { clientWidth, clientHeight } = this.canvas;
    const most = Math.sqrt(MOST_PIXELS / Math.max(1, clientWidth * clientHeight));
    const fineness = Math.min(devicePixelRatio || 1, FINEST, most);
    const width = Math.max(1, Math.round(clientWidth * fineness));
    const height = Math.max(1, Math.round(clientHeight * fineness));
    const focal = Math.min(width * this.lens.x, height * this.lens.y);
    this.controls.pixels = focal / fineness;
    return { fx: focal, fy: focal, cx: width / 2, cy: height / 2, width, height };
  }

  #draw(share) {
    const { canvas, view } = this;
    const { fx, fy, cx, cy, width, height } = this.pinned ?? this.#fitted();
    // To set a size clears the canvas, even where it is the same.
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const size = [width, height].map((side) => Math.max(1, Math.round(side * share)));
    const [x, y] = [size[0] / width, size[1] / height];
    const [right, down, forward] = view.rotation;
    const behind = this.pinned ? BLACK : this.behind;
    const moment = this.clip?.moment ?? 0;
    const pose = { right, down, forward, eye: view.eye, near: this.#near, behind, moment };
    this.renderer.draw({ ...pose, focal: [fx * x, fy * y], middle: [cx * x, cy * y], size });
  }
}

/** Focal lengths in widths and heights of a picture, from a camera or of our own choice. */
function lensOf(camera) {
  const own = 0.5 / Math.tan(FIELD / 2);
  if (!camera) return { x: own, y: own };
  return { x: camera.K[0][0] / camera.width, y: camera.K[1][1] / camera.height };
}
