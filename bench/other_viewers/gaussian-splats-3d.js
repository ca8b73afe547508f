// `@mkkellogg/gaussian-splats-3d`: no colours but those of the first band unless it is told to.

import * as GaussianSplats3D from 'gaussian-splats-3d';
import * as THREE from 'three';
import { aim, stage } from '/pages/three_camera.js';

export async function open(file, shown, antialiased) {
  const renderer = new THREE.WebGLRenderer({ antialias: false });
  // It writes colours as they are in the file, which are encoded for display already.
  renderer.outputColorSpace = THREE.LinearSRGBColorSpace;
  const camera = stage(renderer, shown);
  aim(camera, shown);
  const viewer = new GaussianSplats3D.Viewer({
    renderer,
    camera,
    antialiased,
    rootElement: document.body,
    selfDrivenMode: false,
    useBuiltInControls: false,
    sharedMemoryForWorkers: false,
    integerBasedSort: false,
    splatSortDistanceMapPrecision: 20, // of 24 bits the farthest rounds up and comes out nearest
    sceneRevealMode: GaussianSplats3D.SceneRevealMode.Instant,
    sphericalHarmonicsDegree: 2, // the most that it knows
  });
  await viewer.addSplatScene(file, { showLoadingUI: false, splatAlphaRemovalThreshold: 0 });
  const draw = (other) => {
    aim(camera, other);
    viewer.update();
    viewer.render();
  };
  return { canvas: renderer.domElement, draw, busy: () => viewer.sortRunning };
}
