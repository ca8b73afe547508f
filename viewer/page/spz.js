// The scene inside the page: base64 of an .spz file of version 3 (gzip around a header of 16 bytes
// and one stream an attribute), and how it is laid out for the graphics card. Runs in the worker.
'use strict';

const BAD_SCENE = 'The scene in this page is incomplete or damaged; download or export it again.';
const ROW = 1024; // Gaussians in a row of a texture; every device allows four times as many

/** Bytes of base64 text. */
function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const clean = text.trim();
  const padding = clean.endsWith('==') ? 2 : clean.endsWith('=') ? 1 : 0;
  const bytes = new Uint8Array((clean.length / 4) * 3 - padding);
  const part = 1 << 20; // characters at a time, a multiple of four: atob makes a string of each
  for (let start = 0, at = 0; start < clean.length; start += part) {
    const decoded = atob(clean.slice(start, start + part));
    for (let i = 0; i < decoded.length; i++) bytes[at++] = decoded.charCodeAt(i);
  }
  return bytes;
}

async function gunzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The streams of an unpacked file, as views of it. */
function streamsOf(bytes) {
  if (bytes.length < 16) throw new Error(BAD_SCENE);
  const header = new DataView(bytes.buffer, bytes.byteOffset, 16);
  const magic = header.getUint32(0, true);
  const version = header.getUint32(4, true);
  const count = header.getUint32(8, true);
  const degree = header.getUint8(12);
  const rest = 3 * ((degree + 1) ** 2 - 1);
  const known = magic === 0x5053474e && version === 3 && degree <= 3 && count > 0;
  if (!known || bytes.length < 16 + count * (20 + rest)) throw new Error(BAD_SCENE);
  let at = 16;
  const take = (each) => bytes.subarray(at, (at += each * count));
  return {
    count,
    degree,
    step: 2 ** -header.getUint8(13),
    antialiased: (header.getUint8(14) & 1) === 1,
    positions: take(9),
    alphas: take(1),
    colors: take(3),
    scales: take(3),
    rotations: take(4),
    harmonics: take(rest),
  };
}

/** Positions [3 n] in world units, of 24-bit integers. */
function positionsOf({ count, positions, step }) {
  const found = new Float32Array(3 * count);
  for (let i = 0, at = 0; i < found.length; i++, at += 3) {
    // The sign is in the last byte: up to the top of 32 bits and back.
    const word = positions[at] << 8 | positions[at + 1] << 16 | positions[at + 2] << 24;
    found[i] = (word >> 8) * step;
  }
  return found;
}

/** Rotations [n], each in 32 bits. */
function rotationsOf({ count, rotations }) {
  const words = new Uint32Array(count);
  new Uint8Array(words.buffer).set(rotations); // little endian, as every browser's machine is
  return words;
}

/**
 * Texels as project.frag reads them: values stay as short as in the file, which keeps a million
 * Gaussians with all harmonics in 72 MB.
 */
function texelsOf(streams, positions, rotations) {
  const { count, alphas, colors, scales } = streams;
  const height = Math.ceil(count / ROW);
  const shapes = new Uint32Array(4 * ROW * height);
  const paints = new Uint32Array(2 * ROW * height);
  const bits = new Uint32Array(positions.buffer);
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < 3; k++) shapes[4 * i + k] = bits[3 * i + k];
    shapes[4 * i + 3] = rotations[i];
    const [j, s] = [3 * i, scales];
    paints[2 * i] = (s[j] | s[j + 1] << 8 | s[j + 2] << 16 | alphas[i] << 24) >>> 0;
    paints[2 * i + 1] = colors[j] | colors[j + 1] << 8 | colors[j + 2] << 16;
  }
  return { height, shapes, paints, harmonics: harmonicTexels(streams, height) };
}

/** Coefficients beyond the constant one, 16 bytes to a texel and texels of a Gaussian in layers. */
function harmonicTexels({ count, degree, harmonics }, height) {
  const each = 3 * ((degree + 1) ** 2 - 1);
  const layers = Math.ceil(each / 16);
  const texels = new Uint8Array(16 * ROW * height * layers);
  for (let layer = 0; layer < layers; layer++) {
    const first = 16 * layer;
    const length = Math.min(16, each - first);
    for (let i = 0, to = 16 * ROW * height * layer; i < count; i++, to += 16) {
      const from = each * i + first;
      for (let k = 0; k < length; k++) texels[to + k] = harmonics[from + k];
    }
  }
  return { layers, texels: new Uint32Array(texels.buffer) };
}
