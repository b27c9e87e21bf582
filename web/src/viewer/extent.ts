// How large things are.

import { SplatMesh } from '@sparkjsdev/spark';
import * as THREE from 'three';

/** Splats beyond these quantiles of each axis are strays, which captures of scenes are full of. */
const STRAY_FRACTION = 0.005;
const SAMPLED_SPLATS = 20000;

/** Return the box around all that a group holds, without stray splats. */
export function boxAround(group: THREE.Object3D): THREE.Box3 {
  const box = new THREE.Box3();
  group.updateMatrixWorld(true);
  for (const part of group.children) {
    box.union(part instanceof SplatMesh ? boxOfSplats(part) : new THREE.Box3().setFromObject(part));
  }
  return box.isEmpty() ? new THREE.Box3(new THREE.Vector3(-0.15, -0.2, -0.15), new THREE.Vector3(0.15, 0.2, 0.15)) : box;
}

function boxOfSplats(splats: SplatMesh): THREE.Box3 {
  const count = splats.splats?.getNumSplats() ?? 0;
  const step = Math.max(1, Math.floor(count / SAMPLED_SPLATS));
  const axes: [number[], number[], number[]] = [[], [], []];
  splats.forEachSplat((index, center) => {
    if (index % step === 0) center.toArray().forEach((value, axis) => axes[axis]?.push(value));
  });
  const [low, high] = [STRAY_FRACTION, 1 - STRAY_FRACTION].map((quantile) =>
    axes.map((values) => values.sort((a, b) => a - b)[Math.round(quantile * (values.length - 1))] ?? 0),
  );
  const box = new THREE.Box3(new THREE.Vector3().fromArray(low ?? []), new THREE.Vector3().fromArray(high ?? []));
  return box.applyMatrix4(splats.matrixWorld);
}
