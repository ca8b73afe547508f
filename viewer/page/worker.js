// The worker's side of the conversation: unpack the scene, then sort and pick when asked. Each
// message gets one answer.
'use strict';

let scene = null;

async function load({ text, motion, clip }) {
  const streams = streamsOf(await gunzip(bytesOf(text)));
  const positions = positionsOf(streams);
  const rotations = rotationsOf(streams);
  scene = { streams, positions, rotations, sort: sorter(positions), motion: null };
  if (clip) moving(new Motion(await gunzip(bytesOf(motion)), streams.count, clip.fastest));
  const { shapes, paints, height, harmonics } = texelsOf(streams, positions, rotations);
  const { count, degree, antialiased } = streams;
  const extent = extentOf(streams, positions);
  streams.harmonics = null; // the graphics card has them now
  const motions = scene.motion?.texels(ROW, height) ?? null;
  const texels = { row: ROW, height, shapes, paints, harmonics, motions };
  const moved = [shapes.buffer, paints.buffer, harmonics.texels.buffer];
  postMessage({ count, degree, antialiased, extent, texels }, moved);
}

/** Have the scene move: what is sorted and met are positions at the moment last asked for. */
function moving(motion) {
  const { streams, positions } = scene;
  Object.assign(scene, { motion, own: positions, positions: new Float32Array(positions.length) });
  scene.sort = sorter(scene.positions);
  motion.at(0, scene.own, streams.alphas, scene.positions);
}

function sort({ forward, offset, near, order, moment }) {
  const { motion, own, streams, positions } = scene;
  motion?.at(moment, own, streams.alphas, positions);
  const count = scene.sort(forward, offset, near, order);
  postMessage({ order, count }, [order.buffer]);
}

function pick(ray) {
  postMessage({ distance: distanceAlong(scene, ray) });
}

onmessage = async ({ data }) => {
  try {
    if (data.about === 'load') await load(data);
    else if (data.about === 'sort') sort(data);
    else if (data.about === 'pick') pick(data);
  } catch (error) {
    // A broken gzip stream is a TypeError of the browser's, which tells people nothing.
    const sentence = error instanceof RangeError
      ? 'The scene needs more memory than this browser has left; close other pages and reload.'
      : BAD_SCENE;
    postMessage({ failed: sentence, detail: String(error) });
  }
};
