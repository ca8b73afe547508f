// Where the camera is, and how it moves: around a pivot, or freely.
'use strict';

const STEEPEST = 0.02; // radians that are left between looking up, or down, and the vertical

class View {
  /** `radius` of the scene, world units, sets how fast things move. */
  constructor(radius) {
    this.radius = radius;
    this.eye = [0, 0, 0];
    this.rotation = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    this.pivot = [0, 0, radius];
    this.up = [0, -1, 0];
    this.bound(this.pivot, Infinity);
  }

  /** Nobody draws back farther than that from a point. */
  bound(middle, farthest) {
    Object.assign(this, { middle, farthest });
  }

  get pose() {
    return { eye: this.eye, rotation: this.rotation, pivot: this.pivot, up: this.up };
  }

  set pose({ eye, rotation, pivot, up }) {
    Object.assign(this, { eye, rotation: rotations.clean(rotation), pivot, up });
  }

  get forward() {
    return this.rotation[2];
  }

  /** Depth of the pivot; what is close to the camera, or behind it, counts as close. */
  get distance() {
    const depth = vectors.dot(vectors.subtract(this.pivot, this.eye), this.forward);
    return Math.max(depth, 0.02 * this.radius);
  }

  /** Rows of `world_to_camera`. */
  get worldToCamera() {
    const rows = this.rotation.map((row) => [...row, -vectors.dot(row, this.eye)]);
    return [...rows, [0, 0, 0, 1]];
  }

  /** The pose of a `world_to_camera`; the pivot is at the depth where it was, unless given. */
  place(rows, pivot = null) {
    const { distance } = this;
    const rotation = rows.slice(0, 3).map((row) => row.slice(0, 3));
    const eye = rotation.reduce(
      (sum, row, i) => vectors.subtract(sum, vectors.scale(row, rows[i][3])),
      [0, 0, 0],
    );
    const ahead = vectors.add(eye, vectors.scale(rotation[2], distance));
    this.pose = { eye, rotation, pivot: pivot ?? ahead, up: this.up };
  }

  /** Turn around the pivot, radians: `yaw` about the vertical, `pitch` about the camera's right. */
  orbit(yaw, pitch) {
    this.#turn(yaw, pitch, this.pivot);
  }

  /** Turn on the spot. */
  look(yaw, pitch) {
    const { distance } = this;
    this.#turn(yaw, pitch, this.eye);
    this.pivot = vectors.add(this.eye, vectors.scale(this.forward, distance));
  }

  /** Move along the camera's axes, world units, and the pivot with it. */
  move(right, down, ahead) {
    const [x, y, z] = this.rotation;
    const step = [vectors.scale(x, right), vectors.scale(y, down), vectors.scale(z, ahead)];
    const sum = step.reduce(vectors.add);
    this.eye = vectors.add(this.eye, sum);
    this.pivot = vectors.add(this.pivot, sum);
  }

  /** Towards the pivot, to `exp(-amount)` of its distance; once there, it is pushed ahead. */
  dolly(amount) {
    const { distance } = this;
    const ahead = distance * (1 - Math.exp(-amount));
    const step = vectors.scale(this.forward, ahead);
    const eye = vectors.add(this.eye, step);
    const [now, then] = [this.eye, eye].map((place) => this.#away(place));
    if (ahead < 0 && then > now && then > this.farthest) return;
    this.eye = eye;
    if (ahead > 0 && distance - ahead < 0.02 * this.radius) {
      this.pivot = vectors.add(this.pivot, step);
    }
  }

  /** Take a share of the camera's tilt away. */
  level(share) {
    const [right, down, forward] = this.rotation;
    const tilt = Math.atan2(-vectors.dot(right, this.up), -vectors.dot(down, this.up));
    const steep = 1 - Math.abs(vectors.dot(forward, this.up));
    if (steep < 0.01) return; // there is no telling what is level
    this.rotation = rotations.turn(this.rotation, forward, -share * tilt);
  }

  /** The pose that looks at a point from closer by. */
  approach(point) {
    const away = vectors.subtract(point, this.eye);
    const eye = vectors.add(this.eye, vectors.scale(away, 0.4));
    const rotation = rotations.looking(vectors.unit(away), this.up, this.rotation[0]);
    return { eye, rotation, pivot: point, up: this.up };
  }

  /** The same place with another way up. */
  upright(up) {
    const rotation = rotations.looking(this.forward, up, this.rotation[0]);
    return { eye: this.eye, rotation, pivot: this.pivot, up };
  }

  /** A pose part of the way between two. */
  static between(a, b, t) {
    return {
      eye: vectors.mix(a.eye, b.eye, t),
      rotation: rotations.mix(a.rotation, b.rotation, t),
      pivot: vectors.mix(a.pivot, b.pivot, t),
      up: b.up,
    };
  }

  #away(place) {
    return vectors.length(vectors.subtract(place, this.middle));
  }

  #turn(yaw, pitch, centre) {
    const fromUp = Math.acos(Math.min(1, Math.max(-1, vectors.dot(this.forward, this.up))));
    const bounded = Math.min(Math.max(pitch, STEEPEST - (Math.PI - fromUp)), fromUp - STEEPEST);
    for (const [axis, angle] of [[this.rotation[0], bounded], [this.up, yaw]]) {
      this.rotation = rotations.turn(this.rotation, axis, angle);
      const away = vectors.turn(vectors.subtract(this.eye, centre), axis, angle);
      this.eye = vectors.add(centre, away);
    }
    this.rotation = rotations.clean(this.rotation);
  }
}
