// What is laid over the head: the photo, and the cameras of a folder of views.

import * as THREE from 'three';

import { cornersAt } from './pinhole';
import type { PhotoCamera } from './types';

const FRUSTUM_COLOUR = 0x2f7de1;

/** A photo that covers what its own camera sees. */
export class PhotoOverlay {
  readonly mesh: THREE.Mesh<THREE.BufferGeometry, THREE.MeshBasicMaterial>;

  constructor(texture: THREE.Texture, camera: PhotoCamera, depth: number) {
    texture.colorSpace = THREE.SRGBColorSpace;
    const geometry = new THREE.BufferGeometry().setFromPoints(cornersAt(camera, depth));
    geometry.setAttribute('uv', new THREE.Float32BufferAttribute([0, 1, 1, 1, 1, 0, 0, 0], 2));
    geometry.setIndex([0, 2, 1, 0, 3, 2]);
    const material = new THREE.MeshBasicMaterial({ map: texture, transparent: true, depthTest: false, depthWrite: false });
    this.mesh = new THREE.Mesh(geometry, material);
    this.mesh.renderOrder = 100;
    this.mesh.frustumCulled = false;
  }

  set opacity(value: number) {
    this.mesh.material.opacity = THREE.MathUtils.clamp(value, 0, 1);
  }

  dispose(): void {
    this.mesh.removeFromParent();
    this.mesh.geometry.dispose();
    this.mesh.material.map?.dispose();
    this.mesh.material.dispose();
  }
}

/** Return the frusta of cameras as lines, with a tick on top that tells which way is up. */
export function frusta(cameras: PhotoCamera[], depth: number): THREE.LineSegments {
  const points = cameras.flatMap((camera) => {
    const corners = cornersAt(camera, depth);
    const [eye] = cornersAt(camera, 0) as [THREE.Vector3];
    const [a, b, c, d] = corners as [THREE.Vector3, THREE.Vector3, THREE.Vector3, THREE.Vector3];
    const top = a.clone().lerp(b, 0.5);
    const up = top.clone().add(a.clone().sub(d).multiplyScalar(0.18));
    return [eye, a, eye, b, eye, c, eye, d, a, b, b, c, c, d, d, a, a.clone().lerp(b, 0.35), up, up, a.clone().lerp(b, 0.65)];
  });
  const geometry = new THREE.BufferGeometry().setFromPoints(points);
  const lines = new THREE.LineSegments(geometry, new THREE.LineBasicMaterial({ color: FRUSTUM_COLOUR }));
  lines.frustumCulled = false;
  return lines;
}
