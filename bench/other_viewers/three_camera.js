// A camera of three.js that sees what one of ours sees.

import * as THREE from 'three';

/** The renderer's canvas put on the page at the camera's size, and a camera for it. */
export function stage(renderer, { width, height }) {
  renderer.setPixelRatio(1);
  renderer.setSize(width, height);
  document.body.append(renderer.domElement);
  return new THREE.PerspectiveCamera();
}

/** Aim it: its axes are x right, y up, z backward. */
export function aim(camera, { camera_to_world, fx, fy, width, height, near, far }) {
  const turned = camera_to_world.map(([right, down, ahead, at]) => [right, -down, -ahead, at]);
  const pose = new THREE.Matrix4().set(...turned.flat());
  pose.decompose(camera.position, camera.quaternion, camera.scale);
  camera.fov = (2 * Math.atan(height / 2 / fy) * 180) / Math.PI;
  camera.aspect = (width * fy) / (height * fx);
  Object.assign(camera, { near, far });
  camera.updateProjectionMatrix();
  camera.updateMatrixWorld(true);
}
