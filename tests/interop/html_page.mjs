// Opens an exported page in Chromium, from the disk, and checks what it draws and how it behaves.
//
//   node html_page.mjs PAGE.html CAMERAS.json PICTURES [SCREENSHOTS]
//
// CAMERAS.json is the cameras.json of a run; PICTURES a folder with a PNG for each of its cameras,
// as `splat render PAGE.html --path CAMERAS.json -o PICTURES` makes them. Every one is compared.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { PNG } from 'pngjs';

const LEAST = 35; // dB
const [file, camerasFile, pictures, screenshots] = process.argv.slice(2);
const GRAPHICS = ['--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'];
const QUIET = ['--no-first-run', '--disable-background-networking', '--disable-sync'];

async function opened(options) {
  const context = await chromium.launchPersistentContext(
    fs.mkdtempSync(path.join(os.tmpdir(), 'page-')),
    {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      headless: true,
      args: ['--no-sandbox', '--ignore-gpu-blocklist', ...GRAPHICS, ...QUIET],
      ...options,
    },
  );
  const page = context.pages()[0] ?? (await context.newPage());
  const problems = [];
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (line) => line.type() === 'error' && problems.push(line.text()));
  page.on('request', (request) => {
    if (!/^(file|blob|data):/.test(request.url())) problems.push(`loads ${request.url()}`);
  });
  await page.goto(`file://${path.resolve(file)}`);
  await page.evaluate(async () => void (await window.splat.ready));
  return { context, page, problems };
}

/** RGB bytes of the canvas once it shows a camera. */
async function drawn(page, camera) {
  const url = await page.evaluate(async (camera) => {
    await window.splat.look(camera);
    return document.querySelector('canvas').toDataURL();
  }, camera);
  return PNG.sync.read(Buffer.from(url.split(',')[1], 'base64'));
}

function psnr(a, b) {
  assert.deepEqual([a.width, a.height], [b.width, b.height]);
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) if (i % 4 < 3) sum += (a.data[i] - b.data[i]) ** 2;
  return 10 * Math.log10(255 ** 2 / (sum / (0.75 * a.data.length) || 1e-9));
}

async function pixels(page) {
  const { width, height, cameras, K } = JSON.parse(fs.readFileSync(camerasFile, 'utf8'));
  const names = fs.readdirSync(pictures).filter((name) => name.endsWith('.png')).sort();
  assert.equal(names.length, cameras.length, 'a picture for each camera');
  const found = [];
  for (const [i, camera] of cameras.entries()) {
    const expected = PNG.sync.read(fs.readFileSync(path.join(pictures, names[i])));
    const seen = await drawn(page, { K, width, height, ...camera });
    if (screenshots && i === 0) {
      fs.writeFileSync(path.join(screenshots, 'canvas.png'), PNG.sync.write(seen));
    }
    found.push(psnr(seen, expected));
  }
  const [least, mean] = [Math.min(...found), found.reduce((a, b) => a + b) / found.length];
  const [low, middle] = [least, mean].map((value) => value.toFixed(2));
  console.log(`${found.length} pictures: ${low} dB at least, ${middle} on average`);
  assert(least >= LEAST, `a picture differs from that of splat render: ${least} dB`);
}

const view = (page) => page.evaluate(() => window.splat.camera());
const eyeOf = ({ world_to_camera: m }) =>
  [0, 1, 2].map((j) => -[0, 1, 2].reduce((sum, i) => sum + m[i][j] * m[i][3], 0));
const apart = (a, b) => Math.hypot(...eyeOf(a).map((value, i) => value - eyeOf(b)[i]));
const turned = (a, b) => {
  const [first, second] = [a, b].map(({ world_to_camera: m }) =>
    m.slice(0, 3).flatMap((row) => row.slice(0, 3)),
  );
  const trace = first.reduce((sum, value, i) => sum + value * second[i], 0);
  return Math.acos(Math.min(1, (trace - 1) / 2));
};

/** The views before and after something is done, once all has come to rest. */
async function change(page, action) {
  const before = await view(page);
  await action();
  await page.evaluate(() => window.splat.rest());
  const now = await view(page);
  return { moved: apart(before, now), turned: turned(before, now) };
}

async function mouse(page, width, height) {
  const [x, y] = [width / 2, height / 2];
  const drag = (button) => async () => {
    await page.mouse.move(x, y);
    await page.mouse.down({ button });
    await page.mouse.move(x + 120, y + 30, { steps: 4 });
    await page.mouse.up({ button });
  };
  const orbit = await change(page, drag('left'));
  assert(orbit.moved > 0 && orbit.turned > 0.1, 'dragging turns around the scene');
  const pan = await change(page, drag('right'));
  assert(pan.moved > 0 && pan.turned < 1e-3, 'dragging with the right button moves sideways');
  const dolly = await change(page, () => page.mouse.wheel(0, -300));
  assert(dolly.moved > 0 && dolly.turned < 1e-3, 'the wheel comes closer');
  await change(page, () => page.keyboard.press('r'));
  const focus = await change(page, () => page.mouse.dblclick(x, y));
  assert(focus.moved > 0, 'a double click goes to the point');
}

async function keyboard(page) {
  const hold = (key) => async () => {
    await page.keyboard.down(key);
    await page.waitForTimeout(300);
    await page.keyboard.up(key);
  };
  assert((await change(page, hold('ArrowLeft'))).turned > 0.02, 'arrows turn');
  assert((await change(page, hold('+'))).moved > 0, 'plus comes closer');
  const fly = await change(page, hold('w'));
  assert(fly.moved > 0 && fly.turned < 1e-3, 'W flies ahead');
  assert.equal(await page.getAttribute('#fly', 'aria-pressed'), 'true');
  await page.keyboard.press('f');
  assert.equal(await page.getAttribute('#fly', 'aria-pressed'), 'false');
  const start = await page.evaluate(() => JSON.parse(document.getElementById('scene').textContent));
  await change(page, () => page.keyboard.press('r'));
  if (start.start) {
    const home = { world_to_camera: start.start.world_to_camera };
    assert(apart(home, await view(page)) < 1e-4, 'R goes back to the start');
  }
  await page.keyboard.press('?');
  assert(await page.isVisible('#help'), 'a question mark opens the help');
  await page.keyboard.press('Escape');
  assert(!(await page.isVisible('#help')), 'Escape closes the help');
}

async function downloads(page) {
  for (const [id, start] of [['#download', '1f8b'], ['#picture', '89504e47']]) {
    const [download] = await Promise.all([page.waitForEvent('download'), page.click(id)]);
    const bytes = fs.readFileSync(await download.path());
    assert(bytes.toString('hex').startsWith(start), `${id} saves a file of its kind`);
  }
}

async function touch(page, context, width, height) {
  const client = await context.newCDPSession(page);
  const send = (type, points) => {
    const touchPoints = points.map(([x, y], id) => ({ x: x * width, y: y * height, id }));
    return client.send('Input.dispatchTouchEvent', { type, touchPoints });
  };
  const gesture = (...steps) => async () => {
    await send('touchStart', steps[0]);
    for (const step of steps.slice(1)) await send('touchMove', step);
    await send('touchEnd', []);
  };
  const one = await change(page, gesture([[0.4, 0.4]], [[0.5, 0.42]], [[0.6, 0.45]]));
  assert(one.moved > 0 && one.turned > 0.1, 'one finger turns');
  const pinch = await change(page, gesture([[0.4, 0.4], [0.6, 0.4]], [[0.3, 0.4], [0.7, 0.4]]));
  assert(pinch.moved > 0 && pinch.turned < 1e-3, 'a pinch comes closer');
  const two = await change(page, gesture([[0.4, 0.4], [0.6, 0.4]], [[0.5, 0.5], [0.7, 0.5]]));
  assert(two.moved > 0 && two.turned < 1e-3, 'two fingers move sideways');
  await change(page, () => page.tap('#reset'));
  // At once: a slow page would answer to the first tap too late for a second.
  const taps = ['touchStart', 'touchEnd', 'touchStart', 'touchEnd'];
  const focus = await change(page, () =>
    Promise.all(taps.map((type) => send(type, type === 'touchStart' ? [[0.5, 0.5]] : []))),
  );
  assert(focus.moved > 0, 'a double tap goes to the point');
  await change(page, () => page.tap('#reset'));
}

async function shot(page, name) {
  if (screenshots) await page.screenshot({ path: path.join(screenshots, name) });
}

async function desktop() {
  const [width, height] = [640, 400];
  const { context, page, problems } = await opened({ viewport: { width, height } });
  await shot(page, 'desktop.png');
  await pixels(page);
  await mouse(page, width, height);
  await keyboard(page);
  await downloads(page);
  assert.deepEqual(problems, []);
  await context.close();
}

async function phone() {
  const viewport = { width: 390, height: 760 };
  const options = { viewport, hasTouch: true, isMobile: true, reducedMotion: 'reduce' };
  const { context, page, problems } = await opened(options);
  await touch(page, context, viewport.width, viewport.height);
  await shot(page, 'phone.png');
  assert.deepEqual(problems, []);
  await context.close();
}

await desktop();
await phone();
console.log('mouse, keyboard, touch and downloads: as expected');
