// Orders Gaussians by depth, farthest first, as blending needs them. Runs in the worker.
'use strict';

const KEYS = 1 << 16;

/**
 * A function (forward, offset, near, order) that fills `order` with the rows whose centre lies at a
 * depth `forward . position + offset` of at least `near`, and returns how many there are.
 *
 * Counting sort, linear in the number of Gaussians. The bits of a positive float read as an integer
 * grow with its logarithm, piece by piece: keys of 16 bits cut from them are as fine close to the
 * camera as far off, where steps of equal depth would be wasted on a few distant Gaussians.
 */
function sorter(positions) {
  const count = positions.length / 3;
  const depths = new Float32Array(count);
  const bits = new Uint32Array(depths.buffer);
  const starts = new Uint32Array(KEYS + 1);

  return function sort([x, y, z], offset, near, order) {
    let least = 0xffffffff;
    let most = 0;
    let seen = 0;
    for (let i = 0, at = 0; i < count; i++, at += 3) {
      depths[i] = x * positions[at] + y * positions[at + 1] + z * positions[at + 2] + offset;
      if (!(depths[i] >= near)) continue;
      seen++;
      if (bits[i] < least) least = bits[i];
      if (bits[i] > most) most = bits[i];
    }
    const finer = (KEYS - 1) / Math.max(1, most - least);
    starts.fill(0);
    for (let i = 0; i < count; i++)
      if (depths[i] >= near) starts[1 + (((most - bits[i]) * finer) | 0)]++;
    for (let key = 0; key < KEYS; key++) starts[key + 1] += starts[key];
    for (let i = 0; i < count; i++)
      if (depths[i] >= near) order[starts[((most - bits[i]) * finer) | 0]++] = i;
    return seen;
  };
}
