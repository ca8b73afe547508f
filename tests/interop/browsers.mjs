// Opens what we write in other people's viewers, in Chromium, and compares what they draw of each
// format with what the same viewer draws of the .ply.
//
//   npm install && node browsers.mjs RUN [FOLDER]
//
// RUN is the folder of a run, as `splat demo --out RUN` makes it. The files and the screenshots go
// to FOLDER, or else to a temporary one. `PYTHON` names the interpreter that has the package,
// `CHROMIUM` another browser. Takes some minutes; exits with 1 if a picture is off by more than it
// may.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { PNG } from 'pngjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const run = process.argv[2];
const folder = path.resolve(process.argv[3] ?? fs.mkdtempSync(path.join(os.tmpdir(), 'browsers-')));
const [WIDTH, HEIGHT] = [640, 480];

// Files, with what `splat convert` is told.
const FILES = {
  'scene.ply': [],
  'scene.compressed.ply': [],
  'scene2.spz': ['--spz-version', '2'],
  'scene3.spz': ['--spz-version', '3'],
  'scene4.spz': ['--spz-version', '4'],
  'scene.sog': [],
  'scene.splat': [],
  'scene.glb': [],
};

// A page for each viewer, and the least PSNR in dB of each format that it opens. All lie in the
// frame of three.js, y up: files in that of the photos are turned by half a turn about z.
const VIEWERS = {
  spark: {
    imports: {
      three: 'three/build/three.module.js',
      'three/addons/': 'three/examples/jsm/',
      spark: '@sparkjsdev/spark/dist/spark.module.js',
    },
    script: `
      import * as THREE from 'three';
      import { SparkRenderer, SplatMesh } from 'spark';
      const renderer = new THREE.WebGLRenderer();
      const scene = new THREE.Scene();
      scene.add(new SparkRenderer({ renderer }));
      const mesh = new SplatMesh({ url: file });
      await mesh.initialized;
      mesh.quaternion.set(0, 0, 1, 0);
      scene.add(mesh);
      ${threeCamera()}
      renderer.setAnimationLoop(() => renderer.render(scene, camera));`,
    least: {
      'scene.compressed.ply': 36,
      'scene2.spz': 39,
      'scene3.spz': 39,
      'scene.sog': 37,
      'scene.splat': 31,
    },
  },
  three: {
    imports: {
      three: 'three/build/three.webgpu.js',
      'three/webgpu': 'three/build/three.webgpu.js',
      'three/tsl': 'three/build/three.tsl.js',
      'three/addons/': 'three/examples/jsm/',
    },
    script: `
      import * as THREE from 'three/webgpu';
      import { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js';
      import * as extension from 'three/addons/loaders/GLTFGaussianSplatLoaderExtension.js';
      import { GaussianSplatPLYLoader } from 'three/addons/loaders/GaussianSplatPLYLoader.js';
      import { SPZLoader } from 'three/addons/loaders/SPZLoader.js';
      import { GaussianSplat } from 'three/addons/objects/GaussianSplat.js';
      const renderer = new THREE.WebGPURenderer({ forceWebGL: true });
      // It writes colours as they are in the file, which are encoded for display already.
      renderer.outputColorSpace = THREE.LinearSRGBColorSpace;
      await renderer.init();
      const scene = new THREE.Scene();
      if (file.endsWith('.glb')) {
        const loader = new GLTFLoader();
        loader.register((parser) => new extension.GLTFGaussianSplatLoaderExtension(parser));
        scene.add((await loader.loadAsync(file)).scene);
      } else {
        const Loader = file.endsWith('.spz') ? SPZLoader : GaussianSplatPLYLoader;
        const mesh = new GaussianSplat(await new Loader().loadAsync(file));
        mesh.quaternion.set(0, 0, 1, 0);
        scene.add(mesh);
      }
      ${threeCamera()}
      renderer.setAnimationLoop(() => renderer.render(scene, camera));`,
    least: { 'scene2.spz': 39, 'scene3.spz': 39, 'scene4.spz': 39, 'scene.glb': 60 },
  },
  babylon: {
    scripts: ['babylonjs/babylon.js', 'babylonjs-loaders/babylonjs.loaders.js'],
    script: `
      const canvas = document.body.appendChild(document.createElement('canvas'));
      Object.assign(canvas, { width: ${WIDTH}, height: ${HEIGHT} });
      const engine = new BABYLON.Engine(canvas, false);
      const scene = new BABYLON.Scene(engine);
      scene.useRightHandedSystem = true;
      scene.clearColor = new BABYLON.Color4(0, 0, 0, 1);
      const vector = (values) => new BABYLON.Vector3(...values);
      const camera = new BABYLON.TargetCamera('camera', vector(view.eye), scene);
      Object.assign(camera, { minZ: view.near, maxZ: 1000, fov: view.fov });
      camera.upVector = vector(view.up);
      camera.setTarget(vector(view.target));
      const { meshes } = await BABYLON.ImportMeshAsync(file, scene);
      if (!file.endsWith('.glb')) {
        // In place of the mirror that it puts on files of this kind.
        meshes[0].scaling = vector([1, 1, 1]);
        meshes[0].rotation = vector([0, 0, 0]);
        meshes[0].rotationQuaternion = new BABYLON.Quaternion(0, 0, 1, 0);
      }
      engine.runRenderLoop(() => scene.render());`,
    least: {
      'scene.compressed.ply': 35,
      'scene2.spz': 39,
      'scene3.spz': 39,
      'scene4.spz': 39,
      'scene.sog': 36,
      'scene.splat': 31,
      'scene.glb': 41,
    },
  },
};

function threeCamera() {
  return `
      const degrees = (view.fov * 180) / Math.PI;
      const camera = new THREE.PerspectiveCamera(degrees, ${WIDTH / HEIGHT}, view.near, 1000);
      camera.position.set(...view.eye);
      camera.up.set(...view.up);
      camera.lookAt(...view.target);
      renderer.setSize(${WIDTH}, ${HEIGHT});
      document.body.appendChild(renderer.domElement);`;
}

function pageOf({ imports = {}, scripts = [], script }, file, view) {
  const at = (name) => `/node_modules/${name}`;
  const map = Object.fromEntries(Object.entries(imports).map(([name, to]) => [name, at(to)]));
  return `<!doctype html>
    <style>body { margin: 0; background: #000 } canvas { display: block }</style>
    <script type="importmap">${JSON.stringify({ imports: map })}</script>
    ${scripts.map((name) => `<script src="${at(name)}"></script>`).join('')}
    <body><script type="module">
      const [file, view] = [${JSON.stringify(`/files/${file}`)}, ${JSON.stringify(view)}];
      ${script}
      window.ready = true;
    </script>`;
}

/** The first camera of the run, in the frame of the viewers. */
function firstView() {
  const { cameras } = JSON.parse(fs.readFileSync(path.join(run, 'cameras.json')));
  const { K, height, world_to_camera: m } = cameras[0];
  const header = fs.readFileSync(path.join(run, 'point_cloud.ply')).toString('latin1', 0, 1000);
  const axis = (i) => m[i].slice(0, 3);
  const eye = [0, 1, 2].map((j) => -[0, 1, 2].reduce((sum, i) => sum + m[i][j] * m[i][3], 0));
  const turned = ([x, y, z]) => [-x, -y, z];
  return {
    eye: turned(eye),
    target: turned(eye.map((value, j) => value + axis(2)[j])),
    up: turned(axis(1).map((value) => -value)),
    fov: 2 * Math.atan(height / 2 / K[1][1]),
    // What lies nearer was never drawn while the run was trained, and hides the scene.
    near: Number(/SplatNearPlane: (\S+)/.exec(header)?.[1] ?? 0.01),
  };
}

function makeFiles() {
  fs.mkdirSync(folder, { recursive: true });
  for (const [file, options] of Object.entries(FILES)) {
    const paths = [path.join(run, 'point_cloud.ply'), path.join(folder, file)];
    const args = ['-m', 'splat', 'convert', ...paths, '--overwrite', '--quiet', ...options];
    const stdio = ['ignore', 'ignore', 'inherit'];
    const { status } = spawnSync(process.env.PYTHON ?? 'python', args, { stdio });
    if (status !== 0) throw new Error(`failed: python ${args.join(' ')}`);
  }
}

/** Answers everything from the disk; what a viewer would load from elsewhere, from node_modules. */
async function serve(route, html) {
  const { pathname } = new URL(route.request().url());
  if (pathname === '/') return route.fulfill({ contentType: 'text/html', body: html });
  const name = decodeURIComponent(pathname).replace(/@\d[\d.]*(?=\/)/, '');
  const [, kind, rest] = /^\/(files|node_modules)?\/?(.*)/.exec(name);
  const file = path.join(kind === 'files' ? folder : path.join(here, 'node_modules'), rest);
  return fs.existsSync(file) ? route.fulfill({ path: file }) : route.fulfill({ status: 404 });
}

async function shot(browser, viewer, file, view) {
  const page = await browser.newPage();
  const problems = [];
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (line) => line.type() === 'error' && problems.push(line.text()));
  const html = pageOf(VIEWERS[viewer], file, view);
  await page.route('**/*', (route) => serve(route, html));
  await page.goto('http://localhost/');
  await page.waitForFunction('window.ready', null, { timeout: 60_000 }).catch(() => {
    throw new Error(`${viewer} did not open ${file}: ${problems.join('; ') || 'no error'}`);
  });
  // Sorting goes on in a worker, for a few frames.
  await page.waitForTimeout(5000);
  const bytes = await page.screenshot({ path: path.join(folder, `${viewer}-${file}.png`) });
  await page.close();
  return PNG.sync.read(bytes);
}

function psnr(a, b) {
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) if (i % 4 < 3) sum += (a.data[i] - b.data[i]) ** 2;
  return 10 * Math.log10(255 ** 2 / (sum / (0.75 * a.data.length) || 1e-9));
}

makeFiles();
const graphics = ['--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'];
const browser = await chromium.launch({
  headless: true,
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--ignore-gpu-blocklist', ...graphics],
});
const context = await browser.newContext({ viewport: { width: WIDTH, height: HEIGHT } });
const view = firstView();
for (const [viewer, { least }] of Object.entries(VIEWERS)) {
  const expected = await shot(context, viewer, 'scene.ply', view);
  for (const [file, dB] of Object.entries(least)) {
    const found = psnr(await shot(context, viewer, file, view), expected);
    const verdict = found >= dB ? 'ok' : `expected at least ${dB}`;
    const figure = found.toFixed(1).padStart(6);
    console.log(`${viewer.padEnd(8)} ${file.padEnd(22)} ${figure} dB  ${verdict}`);
    if (found < dB) process.exitCode = 1;
  }
}
await browser.close();
console.log(`screenshots: ${folder}`);
