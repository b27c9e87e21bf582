// The eye: orbits the head by mouse, touch and keyboard, or stands where the photo was taken.

import * as THREE from 'three';
import { OrbitControls } from 'three/addons/controls/OrbitControls.js';

import { projectPhoto, worldFromCamera } from './pinhole';
import type { PhotoCamera } from './types';

const FIELD_OF_VIEW_DEG = 24;
/** Room around the head in the first view. */
const MARGIN = 1.06;
const KEY_STEP_DEG = 6;
const KEY_ZOOM = 1.12;

/** Keeps the camera. */
export class Orbit {
  readonly camera = new THREE.PerspectiveCamera(FIELD_OF_VIEW_DEG, 1, 0.01, 100);
  private readonly controls: OrbitControls;
  private readonly box = new THREE.Box3(new THREE.Vector3(-0.15, -0.2, -0.15), new THREE.Vector3(0.15, 0.2, 0.15));
  private photo: PhotoCamera | null = null;
  private readonly onKey = (event: KeyboardEvent): void => this.key(event);

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly changed: () => void,
  ) {
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enableDamping = !matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.controls.dampingFactor = 0.12;
    this.controls.zoomToCursor = true;
    this.controls.addEventListener('change', changed);
    this.controls.addEventListener('start', () => this.leavePhoto());
    canvas.addEventListener('keydown', this.onKey);
    this.reset();
  }

  /** The sphere around what is shown. */
  get sphere(): THREE.Sphere {
    return this.box.getBoundingSphere(new THREE.Sphere());
  }

  /** The photo's camera, if the eye is there. */
  get photoCamera(): PhotoCamera | null {
    return this.photo;
  }

  /** Say what is to be seen; the view itself stays. */
  frame(box: THREE.Box3): void {
    this.box.copy(box);
    const { radius } = this.sphere;
    this.controls.minDistance = radius * 0.15;
    this.controls.maxDistance = radius * 40;
  }

  /** Look at the face from the front, all of it in view. */
  reset(): void {
    this.photo = null;
    const size = this.box.getSize(new THREE.Vector3());
    const target = this.box.getCenter(new THREE.Vector3());
    const half = Math.tan(THREE.MathUtils.degToRad(FIELD_OF_VIEW_DEG / 2));
    const across = Math.max(size.y, size.x / this.camera.aspect);
    const distance = ((across / 2) * MARGIN) / half + size.z / 2;
    this.controls.target.copy(target);
    this.camera.position.copy(target).add(new THREE.Vector3(0, 0, distance));
    this.project();
    this.controls.update();
    this.changed();
  }

  resize(width: number, height: number): void {
    this.camera.aspect = width / Math.max(height, 1);
    this.project();
  }

  /** Stand where a photo was taken, and see what it shows. */
  lookFrom(camera: PhotoCamera): void {
    this.photo = camera;
    const pose = worldFromCamera(camera);
    pose.decompose(this.camera.position, this.camera.quaternion, new THREE.Vector3());
    const ahead = new THREE.Vector3(0, 0, -1).applyQuaternion(this.camera.quaternion);
    const depth = this.sphere.center.sub(this.camera.position).dot(ahead);
    this.controls.target.copy(this.camera.position).addScaledVector(ahead, Math.max(depth, this.controls.minDistance));
    this.project();
    this.changed();
  }

  /** Go on with what was begun; tells whether the view still moves. */
  update(): boolean {
    return this.photo === null && this.controls.update();
  }

  dispose(): void {
    this.canvas.removeEventListener('keydown', this.onKey);
    this.controls.dispose();
  }

  private leavePhoto(): void {
    if (!this.photo) return;
    this.photo = null;
    this.project();
    this.controls.update();
    this.changed();
  }

  private project(): void {
    const { radius } = this.sphere;
    this.camera.near = radius * 0.02;
    this.camera.far = radius * 100;
    if (this.photo) projectPhoto(this.camera, this.photo, this.camera.aspect);
    else this.camera.updateProjectionMatrix();
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const turns: Record<string, [number, number]> = {
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, -1],
      ArrowDown: [0, 1],
    };
    const turn = turns[event.key];
    if (turn) this.turn(turn[0] * KEY_STEP_DEG, turn[1] * KEY_STEP_DEG, 1);
    else if (event.key === '+' || event.key === '=') this.turn(0, 0, 1 / KEY_ZOOM);
    else if (event.key === '-') this.turn(0, 0, KEY_ZOOM);
    else if (event.key === '0') this.reset();
    else return;
    event.preventDefault();
  }

  private turn(azimuth_deg: number, polar_deg: number, farther: number): void {
    this.leavePhoto();
    const { target, minDistance, maxDistance } = this.controls;
    const from = new THREE.Spherical().setFromVector3(this.camera.position.clone().sub(target));
    from.theta += THREE.MathUtils.degToRad(azimuth_deg);
    from.phi += THREE.MathUtils.degToRad(polar_deg);
    from.radius = THREE.MathUtils.clamp(from.radius * farther, minDistance, maxDistance);
    this.camera.position.setFromSpherical(from.makeSafe()).add(target);
    this.controls.update();
    this.changed();
  }
}
