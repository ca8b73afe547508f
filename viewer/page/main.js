// The page: unpacks the scene in the worker, starts the stage, and wires buttons and keys.
'use strict';

const element = (id) => document.getElementById(id);
const UPS = [[0, -1, 0], [0, 0, 1], [0, 1, 0], [0, 0, -1], [-1, 0, 0], [1, 0, 0]];
const NEAR = 0.01; // as splat render has it where a file does not say
const OUTWARD = 3; // how far one may draw back, in distances from which photographs were taken
const TOUCH = matchMedia('(hover: none)');
const scene = JSON.parse(element('scene').textContent);

let reject = null;
const broken = new Promise((_, refuse) => (reject = refuse));

/** Say in the page what is wrong, and have whoever waits for it know. */
function fail(error) {
  console.error(error, error.cause ?? '');
  element('loading').hidden = true;
  element('error').hidden = false;
  element('error').textContent = error.message;
  reject(error);
}

/** The worker: each message has one answer. */
class Helper {
  constructor() {
    const parts = [...document.querySelectorAll('script.worker')].map((part) => part.textContent);
    const url = URL.createObjectURL(new Blob([parts.join('\n')], { type: 'text/javascript' }));
    this.worker = new Worker(url);
    this.waiting = []; // for answers, which come in the order of the messages
    this.worker.onmessage = ({ data }) => {
      const resolve = this.waiting.shift();
      if (data.failed) fail(new Error(data.failed, { cause: data.detail }));
      else resolve(data);
    };
    this.worker.onerror = () => fail(new Error('This browser does not let the page do its work.'));
  }

  ask(message, moved = []) {
    this.worker.postMessage(message, moved);
    return new Promise((resolve) => this.waiting.push(resolve));
  }
}

async function start() {
  if (typeof DecompressionStream === 'undefined') {
    throw new Error('This browser is too old to unpack the scene; use one of 2023 or later.');
  }
  const renderer = new Renderer(element('canvas'));
  renderer.canvas.addEventListener('webglcontextlost', () => {
    fail(new Error('The graphics card stopped drawing this page; reload it to go on.'));
  });
  const helper = new Helper();
  const [text, motion] = ['payload', 'motion'].map((id) => element(id).textContent);
  const loaded = await helper.ask({ about: 'load', text, motion, clip: scene.clip ?? null });
  renderer.load(loaded);

  const view = new View(loaded.extent.radius);
  const home = homeOf(view, loaded.extent);
  view.pose = home;
  view.bound(home.pivot, OUTWARD * (scene.reach ?? vectors.length(vectors.subtract(home.eye, home.pivot))));
  const controls = new Controls(renderer.canvas, view, {
    wake: () => stage.wake(),
    focus: (x, y) => approach(x, y, { stage, helper, controls, view }),
    mode: (flying) => {
      showMode(flying);
      stage.refresh();
    },
  });
  const clip = scene.clip ? new Clip(scene.clip.seconds, () => stage.wake()) : null;
  document.body.classList.toggle('clip', clip !== null);
  const stage = new Stage(renderer, view, controls, {
    clip,
    lens: lensOf(scene.start),
    near: scene.near ?? NEAR,
    middle: home.pivot,
    reach: scene.reach ?? null,
    ask: (message, moved) => helper.ask(message, moved),
    told: (frames) => (element('frames').textContent = `${Math.round(frames)} fps`),
  });
  wire({ stage, controls, view, home, clip });
  stage.behind = scene.background ?? (scene.start ? await stage.borderOf(scene.start) : BLACK);
  view.pose = home;
  await stage.settled();
  element('count').textContent = loaded.count.toLocaleString('en');
  element('loading').hidden = true;
  document.body.classList.add('ready');
  welcome();
  const rest = async () => {
    while (helper.waiting.length || !stage.resting) await new Promise(requestAnimationFrame);
  };
  const at = async (moment) => {
    clip.setPlaying(false);
    clip.go(moment);
    await rest();
    await stage.settled();
  };
  return { camera: () => stage.camera(), look: (camera) => stage.look(camera), rest, at };
}

/** Where to start: at the camera that came with the scene, else looking at most of it. */
function homeOf(view, { centre, radius }) {
  view.up = scene.up ?? UPS[0];
  if (scene.start) {
    view.place(scene.start.world_to_camera, scene.pivot);
    return view.pose;
  }
  const forward = vectors.unit([0.42, 0.3, 0.91]); // y points down: slightly from above
  const rotation = rotations.looking(forward, view.up, [1, 0, 0]);
  const eye = vectors.subtract(centre, vectors.scale(forward, 2.8 * radius));
  return { eye, rotation, pivot: centre, up: view.up };
}

/** Go closer to what is seen at a place of the page. */
async function approach(x, y, { stage, helper, controls, view }) {
  const ray = stage.ray(x, y);
  const { distance } = await helper.ask({ about: 'pick', ...ray });
  if (distance === null) return say('There is nothing at this place');
  controls.fly(view.approach(vectors.add(ray.origin, vectors.scale(ray.direction, distance))));
}

function wire({ stage, controls, view, home, clip }) {
  const ups = [home.up, ...UPS.filter((up) => vectors.dot(up, home.up) < 0.99)];
  const actions = {
    reset: () => controls.fly(home),
    fly: () => controls.setFlying(!controls.flying),
    full: fullScreen,
    picture: () => savePicture(stage),
    download: () => save(new Blob([bytesOf(element('payload').textContent)]), `${scene.name}.spz`),
    'show-help': () => element('help').showModal(),
    up: () => {
      ups.push(ups.shift());
      controls.fly(view.upright(ups[0]));
    },
  };
  const keys = { KeyR: 'reset', KeyF: 'fly', KeyX: 'full', KeyP: 'picture', KeyU: 'up' };
  if (clip) {
    actions.play = () => clip.setPlaying(!clip.playing);
    actions.back = () => clip.nudge(-1);
    actions.on = () => clip.nudge(1);
    Object.assign(keys, { Space: 'play', Comma: 'back', Period: 'on' });
    element('download').hidden = true; // its .spz has no motion
  }
  for (const button of document.querySelectorAll('#tools button')) {
    button.onclick = actions[button.id];
  }
  addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (element('help').open) return;
    // A button that has the focus is pressed by the space bar already.
    if (event.code === 'Space' && event.target.closest('button')) return;
    const name = event.key === '?' ? 'show-help' : keys[event.code];
    if (name) actions[name]();
  });
  element('full').hidden = !document.fullscreenEnabled; // as on some phones
}

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen?.();
}

async function savePicture(stage) {
  await stage.settled();
  // In the same task as drawing: the canvas is emptied once it has been shown.
  stage.canvas.toBlob((blob) => save(blob, `${scene.name}.png`), 'image/png');
}

function save(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  say(`Saved as ${name}`);
}

function showMode(flying) {
  element('fly').setAttribute('aria-pressed', String(flying));
  if (!flying) say('Orbit: drag to turn');
  else if (TOUCH.matches) say('Fly: one finger looks around, two move');
  else say('Fly: W A S D to move, Q and E for down and up, click or drag to look');
}

/** Show a sentence for a while, and have it read aloud. */
function say(sentence) {
  const said = element('said');
  said.textContent = sentence;
  said.classList.remove('gone');
  clearTimeout(say.timer);
  say.timer = setTimeout(() => said.classList.add('gone'), 3500);
}

function welcome() {
  if (TOUCH.matches) say('One finger turns, two move and zoom');
  else say('Drag to turn, scroll to zoom, ? for help');
}

// For programs: `await splat.ready`, then `splat.camera()`, `await splat.look(camera)`,
// `await splat.at(moment)` of a clip, and `await splat.rest()` until nothing moves any more.
window.splat = {};
window.splat.ready = Promise.race([start(), broken]).then((hooks) => {
  Object.assign(window.splat, hooks);
});
window.splat.ready.catch(fail);
