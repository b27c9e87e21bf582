// Pinhole cameras of photos as three.js draws them.

import * as THREE from 'three';

import type { PhotoCamera } from './types';

/** OpenCV's camera axes are OpenGL's turned by 180 degrees about x. */
const OPENGL_FROM_OPENCV = new THREE.Matrix4().makeScale(1, -1, -1);

/** Return the pose of a camera as three.js has it: +Y up, looking along -Z. */
export function worldFromCamera(camera: PhotoCamera): THREE.Matrix4 {
  const rows = camera.camera_from_world;
  if (rows.length !== 4 || rows.some((row) => row.length !== 4 || !row.every(Number.isFinite))) {
    throw new Error('camera_from_world of a camera is no 4 x 4 matrix');
  }
  const [a, b, c, d] = rows as [number[], number[], number[], number[]];
  const camera_from_world = new THREE.Matrix4().fromArray([...a, ...b, ...c, ...d]).transpose();
  return OPENGL_FROM_OPENCV.clone().multiply(camera_from_world).invert();
}

/** Focal lengths and principal point of a camera, in pixels. */
export function intrinsics(camera: PhotoCamera): { fx: number; fy: number; cx: number; cy: number } {
  const [[fx, , cx] = [], [, fy, cy] = []] = camera.intrinsics_px;
  if (![fx, fy, cx, cy].every((value) => Number.isFinite(value))) {
    throw new Error('intrinsics_px of a camera is no 3 x 3 matrix');
  }
  return { fx: fx as number, fy: fy as number, cx: cx as number, cy: cy as number };
}

/**
 * Fill in the projection that shows a photo's whole field of view in the middle of a canvas.
 *
 * @param aspect width by height of the canvas.
 */
export function projectPhoto(out: THREE.PerspectiveCamera, camera: PhotoCamera, aspect: number): void {
  const { fx, fy, cx, cy } = intrinsics(camera);
  const { width_px: width, height_px: height } = camera;
  const wider = Math.max(1, (aspect * height) / width);
  const taller = Math.max(1, width / height / aspect);
  const { near, far } = out;
  const [halfWidth, halfHeight] = [(width / 2) * wider, (height / 2) * taller];
  out.projectionMatrix.makePerspective(
    ((width / 2 - halfWidth - cx) / fx) * near,
    ((width / 2 + halfWidth - cx) / fx) * near,
    ((cy - height / 2 + halfHeight) / fy) * near,
    ((cy - height / 2 - halfHeight) / fy) * near,
    near,
    far,
  );
  out.projectionMatrixInverse.copy(out.projectionMatrix).invert();
}

/** Return the corners of a photo at a depth before its camera, in the world: top left, top right, bottom right, bottom left. */
export function cornersAt(camera: PhotoCamera, depth: number): THREE.Vector3[] {
  const { fx, fy, cx, cy } = intrinsics(camera);
  const { width_px: width, height_px: height } = camera;
  const pose = worldFromCamera(camera);
  const pixels: [number, number][] = [
    [0, 0],
    [width, 0],
    [width, height],
    [0, height],
  ];
  return pixels.map(([u, v]) =>
    new THREE.Vector3(((u - cx) / fx) * depth, (-(v - cy) / fy) * depth, -depth).applyMatrix4(pose),
  );
}
