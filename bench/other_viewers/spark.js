// `@sparkjsdev/spark`: draws as if every file were antialiased, in packed numbers, unless it is told
// not to.

import { SparkRenderer, SplatMesh } from 'spark';
import * as THREE from 'three';
import { aim, stage } from '/pages/three_camera.js';

export async function open(file, shown, antialiased) {
  const renderer = new THREE.WebGLRenderer({ antialias: false });
  const camera = stage(renderer, shown);
  const scene = new THREE.Scene();
  const spark = new SparkRenderer({
    renderer,
    preBlurAmount: antialiased ? 0 : 0.3,
    blurAmount: antialiased ? 0.3 : 0,
    sortRadial: false,
    maxStdDev: 3.33,
    accumExtSplats: true,
  });
  scene.add(spark);
  const mesh = new SplatMesh({ url: file, extSplats: true });
  await mesh.initialized;
  scene.add(mesh);
  const draw = (other) => {
    aim(camera, other);
    renderer.render(scene, camera);
  };
  return { canvas: renderer.domElement, draw, busy: () => spark.sorting || spark.sortDirty };
}
