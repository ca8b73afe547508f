// `gsplat` (gsplat.js): its cameras have our axes; colours are those of the first band.

import * as SPLAT from 'gsplat';
import { Matrix4, Quaternion } from 'three';

export async function open(file, { width, height }) {
  const canvas = document.body.appendChild(document.createElement('canvas'));
  const renderer = new SPLAT.WebGLRenderer(canvas, []); // no fading in
  renderer.setSize(width, height);
  const scene = new SPLAT.Scene();
  const camera = new SPLAT.Camera();
  await SPLAT.Loader.LoadAsync(file, scene);
  const draw = ({ camera_to_world, fx, fy, near, far }) => {
    const pose = new Matrix4().set(...camera_to_world.flat());
    const { x, y, z, w } = new Quaternion().setFromRotationMatrix(pose);
    camera.position = new SPLAT.Vector3(...camera_to_world.slice(0, 3).map((row) => row[3]));
    camera.rotation = new SPLAT.Quaternion(x, y, z, w);
    Object.assign(camera.data, { fx, fy, near, far });
    camera.update();
    renderer.render(scene, camera);
  };
  return { canvas, draw, busy: () => false }; // its worker sorts without end
}
