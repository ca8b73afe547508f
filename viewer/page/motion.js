// How Gaussians move: what the page holds of it (splat/formats/motion.py), and where they are at a
// moment. Runs in the worker.
'use strict';

const TIMES = { first: -0.5, span: 2 };
const DURATIONS = { shortest: 0.004, longest: 16 };
const STEPS = 65535;
const AHEAD = 0.1; // of the clip, either way, for which what is sorted serves

class Motion {
  /** Of unpacked bytes; `fastest` is the largest speed along an axis, units per clip. */
  constructor(bytes, count, fastest) {
    if (bytes.length !== 10 * count) throw new Error(BAD_SCENE);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.times = new Float32Array(count);
    this.rates = new Float32Array(count); // one over the duration; 0: always there, standing still
    this.velocities = new Float32Array(3 * count);
    const { shortest, longest } = DURATIONS;
    for (let i = 0; i < count; i++) {
      this.times[i] = TIMES.first + (TIMES.span * view.getUint16(2 * i, true)) / STEPS;
      const step = view.getUint16(2 * (count + i), true);
      const duration = shortest * (longest / shortest) ** (step / (STEPS - 1));
      this.rates[i] = step === STEPS ? 0 : 1 / duration;
    }
    for (let i = 0; i < 3 * count; i++) {
      this.velocities[i] = (fastest / 32767) * view.getInt16(4 * count + 2 * i, true);
    }
  }

  /** Four words a row for the graphics card: time, rate, velocity as half floats. */
  texels(row, height) {
    const words = new Uint32Array(4 * row * height);
    const floats = new Float32Array(words.buffer);
    for (let i = 0; i < this.times.length; i++) {
      floats[4 * i] = this.times[i];
      floats[4 * i + 1] = this.rates[i];
      const [x, y, z] = this.velocities.subarray(3 * i, 3 * i + 3);
      words[4 * i + 2] = (half(x) | half(y) << 16) >>> 0;
      words[4 * i + 3] = half(z);
    }
    return words;
  }

  /**
   * Positions at a moment into `now`; NaN, which is at no depth, where a row is too faint to be
   * drawn, and will be for a while: pictures come before what is sorted for them. `alphas` are its
   * opacities at its own time, in bytes.
   */
  at(moment, positions, alphas, now) {
    for (let i = 0, k = 0; i < this.times.length; i++) {
      const apart = this.rates[i] ? moment - this.times[i] : 0;
      const far = Math.max(0, Math.abs(apart) - AHEAD) * this.rates[i];
      const drawn = alphas[i] * Math.exp(-0.5 * far * far) >= 1;
      for (let axis = 0; axis < 3; axis++, k++) {
        now[k] = drawn ? positions[k] + this.velocities[k] * apart : NaN;
      }
    }
  }
}

const bitsOf = new Uint32Array(1);
const floatOf = new Float32Array(bitsOf.buffer);

/** A number as 16 bits of a half float, rounded to the nearest; too small ones are 0. */
function half(value) {
  floatOf[0] = value;
  const bits = bitsOf[0] + 0x1000;
  const exponent = ((bits >>> 23) & 255) - 112;
  const sign = (bitsOf[0] >>> 16) & 0x8000;
  if (exponent <= 0) return sign;
  return exponent > 30 ? sign | 0x7bff : sign | exponent << 10 | ((bits >>> 13) & 1023);
}
