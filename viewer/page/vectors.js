// Vectors are arrays of three numbers. A rotation is three of them: where the camera's right, down
// and forward axes point in the world, so its rows are those of `world_to_camera`.
'use strict';

const vectors = {
  add: (a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2]],
  subtract: (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]],
  scale: (a, s) => [a[0] * s, a[1] * s, a[2] * s],
  dot: (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2],
  cross: (a, b) => [
    a[1] * b[2] - a[2] * b[1],
    a[2] * b[0] - a[0] * b[2],
    a[0] * b[1] - a[1] * b[0],
  ],
  length: (a) => Math.hypot(a[0], a[1], a[2]),
  mix: (a, b, t) => a.map((value, i) => value + t * (b[i] - value)),

  unit(a) {
    return vectors.scale(a, 1 / (vectors.length(a) || 1));
  },

  /** `a` turned about the unit vector `axis` (Rodrigues). */
  turn(a, axis, angle) {
    const cosine = Math.cos(angle);
    const along = vectors.scale(axis, vectors.dot(axis, a) * (1 - cosine));
    const across = vectors.scale(vectors.cross(axis, a), Math.sin(angle));
    return vectors.add(vectors.add(vectors.scale(a, cosine), across), along);
  },
};

const rotations = {
  turn: (rotation, axis, angle) => rotation.map((row) => vectors.turn(row, axis, angle)),

  /** Unit and at right angles again, after many small turns. */
  clean([, down, forward]) {
    const ahead = vectors.unit(forward);
    const right = vectors.unit(vectors.cross(down, ahead));
    return [right, vectors.cross(ahead, right), ahead];
  },

  /** Upright, looking along `forward`; where that is the way up or down, `right` decides. */
  looking(forward, up, right) {
    const level = vectors.cross(forward, up);
    const across = vectors.length(level) < 1e-3 ? right : level;
    return rotations.clean([across, vectors.cross(forward, across), forward]);
  },

  /** From `a` to `b` along the shortest turn, a share `t` of the way. */
  mix(a, b, t) {
    // Of the turn that takes a to b: the cross products add up to its axis, times twice the sine.
    const sum = a.reduce((all, row, i) => vectors.add(all, vectors.cross(row, b[i])), [0, 0, 0]);
    const sine = vectors.length(sum) / 2;
    const cosine = (a.reduce((all, row, i) => all + vectors.dot(row, b[i]), 0) - 1) / 2;
    if (sine < 1e-6) return cosine > 0 || t >= 1 ? b : rotations.turn(a, a[1], Math.PI * t);
    return rotations.turn(a, vectors.unit(sum), t * Math.atan2(sine, cosine));
  },
};
