// What the worker knows of the scene as a whole: what a ray meets, and how far most of it reaches.
'use strict';

/** Columns of a rotation in 32 bits: the largest component's index, then the other three. */
function axesOf(word) {
  const largest = word >>> 30;
  const q = [0, 0, 0, 0]; // x, y, z, w
  let squares = 0;
  for (let k = 0, shift = 20; k < 4; k++) {
    if (k === largest) continue;
    const part = (word >>> shift) & 1023;
    q[k] = ((part & 511) / 511) * Math.SQRT1_2 * (part & 512 ? -1 : 1);
    squares += q[k] * q[k];
    shift -= 10;
  }
  q[largest] = Math.sqrt(Math.max(0, 1 - squares));
  const [x, y, z, w] = q;
  return [
    [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
    [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
    [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
  ];
}

/** Where along a ray a Gaussian is densest, and how opaque it is there; `to` is its mean. */
function meeting(axes, sigmas, opacity, to, direction) {
  let [oo, od, dd] = [0, 0, 0];
  for (let k = 0; k < 3; k++) {
    // In the Gaussian's own axes, in units of its standard deviations.
    const origin = vectors.dot(axes[k], to) / sigmas[k];
    const heading = vectors.dot(axes[k], direction) / sigmas[k];
    oo += origin * origin;
    od += origin * heading;
    dd += heading * heading;
  }
  return [od / dd, opacity * Math.exp(-0.5 * Math.max(0, oo - (od * od) / dd))];
}

/**
 * How far along a ray half of its light is taken, or null where that never happens. Gaussians whose
 * centre lies less deep than `near`, along `forward`, take none: they are not drawn.
 */
function distanceAlong({ streams, positions, rotations }, { origin, direction, forward, near }) {
  const { count, alphas, scales } = streams;
  const [dx, dy, dz] = direction;
  const [fx, fy, fz] = forward;
  const sigma = Float64Array.from({ length: 256 }, (_, byte) => Math.exp(byte / 16 - 10));
  const met = [];
  for (let i = 0, at = 0; i < count; i++, at += 3) {
    const x = positions[at] - origin[0];
    const y = positions[at + 1] - origin[1];
    const z = positions[at + 2] - origin[2];
    const ahead = x * dx + y * dy + z * dz;
    const reach = 3.33 * sigma[Math.max(scales[at], scales[at + 1], scales[at + 2])];
    const aside = x * x + y * y + z * z - ahead * ahead;
    if (x * fx + y * fy + z * fz < near || aside > reach * reach) continue;
    const sigmas = [sigma[scales[at]], sigma[scales[at + 1]], sigma[scales[at + 2]]];
    const found = meeting(axesOf(rotations[i]), sigmas, alphas[i] / 255, [x, y, z], direction);
    if (found[0] > 0 && found[1] >= 1 / 255) met.push(found);
  }
  met.sort((a, b) => a[0] - b[0]);
  let light = 1;
  for (const [distance, alpha] of met) {
    light *= 1 - alpha;
    if (light < 0.5) return distance;
  }
  return null;
}

/** Centre and radius of most of what is opaque; a few stray Gaussians far off change neither. */
function extentOf({ count, alphas }, positions) {
  const rows = [];
  const stride = Math.ceil(count / 50000);
  for (let i = 0; i < count; i += stride) if (alphas[i] > 64) rows.push(i);
  if (rows.length === 0) for (let i = 0; i < count; i += stride) rows.push(i);
  const quantile = (values, share) => values.sort()[Math.floor(share * (values.length - 1))];
  const column = (k) => Float32Array.from(rows, (i) => positions[3 * i + k]);
  const centre = [0, 1, 2].map((k) => quantile(column(k), 0.5));
  const distance = (i) => Math.hypot(...centre.map((middle, k) => positions[3 * i + k] - middle));
  const radius = quantile(Float32Array.from(rows, distance), 0.9);
  return { centre, radius: Math.max(radius, 1e-3) };
}
