// The light on surfaces: one key light turned by hand, and a soft room made in code.

import * as THREE from 'three';

/** Radiance of the room, and of the key light on a white surface that faces it: together white stays white. */
const ROOM_RADIANCE = 0.72;
const KEY_RADIANCE = 0.45;
const SHADOW_PX = 2048;

/** Keeps the lights of a scene. */
export class Lighting {
  readonly key = new THREE.DirectionalLight(0xffffff, KEY_RADIANCE * Math.PI);
  private environment: THREE.WebGLRenderTarget | null = null;

  constructor(
    private readonly scene: THREE.Scene,
    private readonly renderer: THREE.WebGLRenderer,
  ) {
    this.key.castShadow = true;
    this.key.shadow.mapSize.setScalar(SHADOW_PX);
    this.key.shadow.radius = 5;
    scene.add(this.key, this.key.target);
  }

  /** Make the room, which only surfaces need. */
  furnish(): void {
    this.environment ??= softRoom(this.renderer);
    this.scene.environment = this.environment.texture;
  }

  /**
   * Point the key light.
   *
   * @param azimuth_deg 0 from the front, growing toward the head's left.
   * @param around the sphere that is lit, which bounds the shadows' sharpness.
   */
  aim(azimuth_deg: number, elevation_deg: number, around: THREE.Sphere): void {
    const azimuth = THREE.MathUtils.degToRad(azimuth_deg);
    const elevation = THREE.MathUtils.degToRad(elevation_deg);
    const toward = new THREE.Vector3(
      Math.sin(azimuth) * Math.cos(elevation),
      Math.sin(elevation),
      Math.cos(azimuth) * Math.cos(elevation),
    );
    const { center, radius } = around;
    this.key.target.position.copy(center);
    this.key.position.copy(center).addScaledVector(toward, 3 * radius);
    const camera = this.key.shadow.camera;
    camera.left = camera.bottom = -radius;
    camera.right = camera.top = radius;
    camera.near = radius;
    camera.far = 5 * radius;
    camera.updateProjectionMatrix();
    this.key.shadow.normalBias = radius * 0.004;
    this.key.shadow.bias = -0.0005;
  }

  dispose(): void {
    this.scene.environment = null;
    this.environment?.dispose();
    this.key.dispose();
  }
}

/** Return the prefiltered light of a grey room with a bright ceiling, a dim floor and two windows, which eyes reflect. */
function softRoom(renderer: THREE.WebGLRenderer): THREE.WebGLRenderTarget {
  const room = new THREE.Scene();
  const walls = new THREE.Mesh(
    new THREE.SphereGeometry(10, 32, 16),
    new THREE.ShaderMaterial({
      side: THREE.BackSide,
      uniforms: { radiance: { value: ROOM_RADIANCE } },
      vertexShader: `
        varying vec3 direction;
        void main() {
          direction = position;
          gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
        }`,
      fragmentShader: `
        varying vec3 direction;
        uniform float radiance;
        void main() {
          float up = normalize(direction).y;
          gl_FragColor = vec4(vec3(radiance * (0.88 + 0.28 * up)), 1.0);
        }`,
    }),
  );
  room.add(walls);
  for (const side of [-1, 1]) {
    const pane = new THREE.Mesh(
      new THREE.PlaneGeometry(1.3, 1.7),
      new THREE.MeshBasicMaterial({ color: new THREE.Color().setScalar(side < 0 ? 18 : 9), side: THREE.DoubleSide }),
    );
    pane.position.set(side * 4.5, 4.2, 6);
    pane.lookAt(0, 0, 0);
    room.add(pane);
  }
  const generator = new THREE.PMREMGenerator(renderer);
  const light = generator.fromScene(room, 0, 0.1, 100);
  generator.dispose();
  room.traverse((part) => {
    if (part instanceof THREE.Mesh) {
      part.geometry.dispose();
      part.material.dispose();
    }
  });
  return light;
}
