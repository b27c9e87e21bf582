// HeadViewer: what pages call.

import type { SplatMesh } from '@sparkjsdev/spark';
import * as THREE from 'three';

import { loadContents } from './load';
import type { Content, SurfaceContent } from './load/content';
import { SurfaceLooks, type Look } from './looks';
import { boxAround } from './extent';
import { PhotoOverlay, frusta } from './overlays';
import { worldFromCamera } from './pinhole';
import { Rig } from './rig';
import { Stage, type Pane } from './stage';
import type { Mode, PhotoCamera, SourceFile, ViewerEvent, ViewerStats } from './types';

/** The photo is laid over the head only from about where it was taken, as a fraction of the head's size. */
const PHOTO_REACH = 0.02;

interface Surface {
  content: SurfaceContent;
  looks: SurfaceLooks;
  rig: Rig;
}

/** Shows one head: its splats, its mesh, its avatar. */
export class HeadViewer {
  private readonly stage: Stage;
  private readonly content = new THREE.Group();
  private readonly listeners = new Map<ViewerEvent, Set<(detail?: unknown) => void>>();
  private splats: SplatMesh | null = null;
  private readonly surfaces: Partial<Record<'mesh' | 'avatar', Surface>> = {};
  private mode: Mode | null = null;
  private compare: { left: Mode; right: Mode; fraction: number } | null = null;
  private light = { azimuth_deg: 35, elevation_deg: 35 };
  private lit = true;
  private photo: { overlay: PhotoOverlay | null; camera: PhotoCamera | null; opacity: number } = {
    overlay: null,
    camera: null,
    opacity: 0.5,
  };
  private cameraLines: THREE.LineSegments | null = null;
  private loads = 0;
  private started_ms = 0;
  private firstFrameMs = 0;
  private shown = false;
  private resolveReady: () => void = () => {};
  private firstFrame: Promise<void>;

  /**
   * @param container the element that the canvas fills; its size is followed.
   * @param options.background a CSS colour; without one the page shows through.
   */
  constructor(container: HTMLElement, options: { background?: string } = {}) {
    this.firstFrame = this.expectFrame();
    this.stage = new Stage(container, {
      ...options,
      panes: () => this.panes(),
      update: (seconds) => this.update(seconds),
      drawn: () => this.drawn(),
    });
    this.stage.scene.add(this.content);
    this.aim();
  }

  /** Settles when the first frame with what was loaded last is drawn. */
  get ready(): Promise<void> {
    return this.firstFrame;
  }

  /**
   * Show files in place of what is shown: .ply (splats or mesh), .spz, .splat, .glb, .vrm, .obj, .stl.
   *
   * A newer call wins over those that still read. What cannot be read leaves the view as it was.
   */
  async load(files: SourceFile[]): Promise<void> {
    const turn = ++this.loads;
    const started_ms = performance.now();
    let contents: Content[];
    try {
      contents = await loadContents(files);
    } catch (error) {
      if (turn === this.loads) this.emit('error', error);
      throw error;
    }
    if (turn !== this.loads) return;
    this.clear();
    this.started_ms = started_ms;
    for (const content of contents) this.add(content);
    const [first] = this.modes;
    this.mode = first ?? null;
    this.stage.orbit.frame(boxAround(this.content));
    this.stage.orbit.reset();
    this.aim();
    this.emit('loaded', { modes: this.modes });
  }

  /** Show nothing. */
  unload(): void {
    this.loads += 1;
    this.clear();
    this.stage.request();
  }

  /** Free everything; the viewer cannot be used afterwards. */
  dispose(): void {
    this.loads += 1;
    this.clear();
    this.setCameras(null);
    this.setPhoto(null);
    this.stage.dispose();
    this.listeners.clear();
  }

  /** Modes that what is loaded has, the richest first. */
  get modes(): Mode[] {
    const surfaces = (['avatar', 'mesh'] as const).filter((kind) => this.surfaces[kind]);
    return [...(this.splats ? (['splats'] as const) : []), ...surfaces, ...(surfaces.length ? (['wireframe', 'normals'] as const) : [])];
  }

  setMode(mode: Mode): void {
    this.require(mode);
    this.mode = mode;
    this.stage.request();
  }

  /** Show two modes side by side; the divider stands at a fraction of the width. */
  setCompare(left: Mode, right: Mode, fraction: number): void {
    this.require(left);
    this.require(right);
    this.compare = { left, right, fraction: THREE.MathUtils.clamp(fraction, 0, 1) };
    this.stage.request();
  }

  clearCompare(): void {
    this.compare = null;
    this.stage.request();
  }

  /** Turn the key light: azimuth 0 shines from the front and grows toward the head's left. Splats keep the photo's light. */
  setLight(azimuth_deg: number, elevation_deg: number): void {
    this.light = { azimuth_deg, elevation_deg };
    this.aim();
  }

  /** Show the colours of surfaces in the light, or as the file has them. */
  setLit(lit: boolean): void {
    this.lit = lit;
    this.stage.request();
  }

  get expressionNames(): string[] {
    return this.surfaces.avatar?.rig.expressionNames ?? [];
  }

  /** Put on an expression by ARKit's names, weights from 0 to 1; what is not named rests. */
  setExpression(weights: Record<string, number>): void {
    this.surfaces.avatar?.rig.setExpression(weights);
    this.stage.request();
  }

  /** Turn the head; signs as in CONVENTIONS.md. Splats and meshes turn as a whole. */
  setHeadRotation(pitch_deg: number, yaw_deg: number, roll_deg: number): void {
    for (const surface of Object.values(this.surfaces)) surface.rig.setHeadRotation(pitch_deg, yaw_deg, roll_deg);
    const [x, y, z] = [pitch_deg, yaw_deg, roll_deg].map((angle) => -THREE.MathUtils.degToRad(angle));
    this.splats?.rotation.set(x ?? 0, y ?? 0, z ?? 0, 'YXZ');
    this.stage.request();
  }

  get clips(): string[] {
    return this.surfaces.avatar?.rig.clips ?? [];
  }

  /** Play a clip over and over, or none. */
  playClip(name: string | null): void {
    this.surfaces.avatar?.rig.play(name);
    this.stage.request();
  }

  /** Lay a photo over the head, seen from its camera; null takes it away. */
  setPhoto(url: string | null, camera?: PhotoCamera): void {
    this.photo.overlay?.dispose();
    this.photo.overlay = null;
    this.photo.camera = camera ?? null;
    this.stage.request();
    if (url === null || !camera) return;
    const depth = worldFromCamera(camera).invert().elements[14] ?? -1;
    const texture = new THREE.TextureLoader().load(url, () => this.stage.request());
    this.photo.overlay = new PhotoOverlay(texture, camera, Math.max(Math.abs(depth), 1e-3));
    this.stage.scene.add(this.photo.overlay.mesh);
    this.setPhotoOpacity(this.photo.opacity);
  }

  setPhotoOpacity(opacity: number): void {
    this.photo.opacity = opacity;
    if (this.photo.overlay) this.photo.overlay.opacity = opacity;
    this.stage.request();
  }

  /** Stand where the photo was taken, until the view is turned. */
  lookFromPhoto(): void {
    if (this.photo.camera) this.stage.orbit.lookFrom(this.photo.camera);
  }

  resetView(): void {
    this.stage.orbit.reset();
  }

  /** Draw cameras as frusta; null takes them away. */
  setCameras(cameras: PhotoCamera[] | null): void {
    this.cameraLines?.removeFromParent();
    this.cameraLines?.geometry.dispose();
    (this.cameraLines?.material as THREE.Material | undefined)?.dispose();
    this.cameraLines = null;
    if (cameras && cameras.length > 0) {
      this.cameraLines = frusta(cameras, this.stage.orbit.sphere.radius * 0.3);
      this.stage.scene.add(this.cameraLines);
      if (this.content.children.length === 0) {
        this.stage.orbit.frame(new THREE.Box3().setFromObject(this.cameraLines));
        this.stage.orbit.reset();
      }
    }
    this.stage.request();
  }

  /** Turn what is shown upside down and back: splats of other programs often have +Y down. */
  turnOver(): void {
    this.content.rotation.z = this.content.rotation.z === 0 ? Math.PI : 0;
    this.content.updateMatrixWorld();
    this.stage.orbit.frame(boxAround(this.content));
    this.stage.orbit.reset();
    this.aim();
  }

  /** Return what is shown as a PNG. */
  snapshot(): Promise<Blob> {
    return this.stage.snapshot();
  }

  /** Listen; the function that is returned ends that. */
  on(event: ViewerEvent, listener: (detail?: unknown) => void): () => void {
    const known = this.listeners.get(event) ?? new Set();
    this.listeners.set(event, known.add(listener));
    return () => known.delete(listener);
  }

  stats(): ViewerStats {
    const modes = this.visibleModes();
    const splats = modes.includes('splats') ? (this.splats?.splats?.getNumSplats() ?? 0) : 0;
    const shown = modes.find((mode) => mode !== 'splats');
    const triangles = shown ? (this.surfaceOf(shown)?.looks.triangles ?? 0) : 0;
    return { splats, triangles, framesPerSecond: this.stage.framesPerSecond, firstFrameMs: this.firstFrameMs };
  }

  private add(content: Content): void {
    if (content.kind === 'splats') {
      this.splats?.dispose();
      this.splats?.removeFromParent();
      this.splats = content.splats;
      this.content.add(content.splats);
      return;
    }
    const { root, animations, vrm, springs } = content;
    this.stage.lighting.furnish();
    this.surfaces[content.kind]?.content.root.removeFromParent();
    const rig = new Rig(root, animations, vrm, springs);
    this.surfaces[content.kind] = { content, looks: new SurfaceLooks(root), rig };
    this.content.add(root);
  }

  private clear(): void {
    this.splats?.removeFromParent();
    this.splats?.dispose();
    this.splats = null;
    for (const kind of ['mesh', 'avatar'] as const) {
      const surface = this.surfaces[kind];
      if (!surface) continue;
      surface.content.root.removeFromParent();
      surface.rig.dispose();
      surface.looks.dispose();
      delete this.surfaces[kind];
    }
    this.content.rotation.z = 0;
    this.mode = this.compare = null;
    this.firstFrame = this.expectFrame();
  }

  private require(mode: Mode): void {
    if (!this.modes.includes(mode)) {
      throw new Error(`${mode} cannot be shown; what is loaded has ${this.modes.join(', ') || 'nothing'}`);
    }
  }

  private visibleModes(): Mode[] {
    if (this.compare) return [this.compare.left, this.compare.right];
    return this.mode ? [this.mode] : [];
  }

  private panes(): Pane[] {
    if (!this.compare) return [{ from: 0, to: 1, prepare: () => this.prepare(this.mode) }];
    const { left, right, fraction } = this.compare;
    return [
      { from: 0, to: fraction, prepare: () => this.prepare(left) },
      { from: fraction, to: 1, prepare: () => this.prepare(right) },
    ].filter((pane) => pane.to > pane.from);
  }

  /** Return the surface that a mode shows: wireframe and normals are the avatar's where there is one. */
  private surfaceOf(mode: Mode): Surface | undefined {
    if (mode === 'splats') return undefined;
    if (mode === 'mesh' || mode === 'avatar') return this.surfaces[mode];
    return this.surfaces.avatar ?? this.surfaces.mesh;
  }

  /** Make visible what a mode shows, and nothing else. */
  private prepare(mode: Mode | null): void {
    if (this.splats) this.splats.visible = mode === 'splats';
    this.stage.spark.visible = mode === 'splats';
    const shown = mode && this.surfaceOf(mode);
    const look: Look = mode === 'wireframe' || mode === 'normals' ? mode : this.lit ? 'natural' : 'unlit';
    for (const surface of Object.values(this.surfaces)) surface.content.root.visible = surface === shown;
    shown?.looks.show(look);
    const { overlay } = this.photo;
    if (overlay) overlay.mesh.visible = this.isAtPhoto();
  }

  private isAtPhoto(): boolean {
    const { orbit } = this.stage;
    if (!this.photo.camera) return false;
    const there = new THREE.Vector3().setFromMatrixPosition(worldFromCamera(this.photo.camera));
    return orbit.photoCamera !== null || there.distanceTo(orbit.camera.position) < PHOTO_REACH * orbit.sphere.radius;
  }

  private aim(): void {
    this.stage.lighting.aim(this.light.azimuth_deg, this.light.elevation_deg, this.stage.orbit.sphere);
    this.stage.request();
  }

  private update(seconds: number): boolean {
    let moves = false;
    for (const { rig, content } of Object.values(this.surfaces)) {
      if (!content.root.visible) continue;
      rig.update(seconds);
      moves ||= rig.isMoving;
    }
    return moves;
  }

  private expectFrame(): Promise<void> {
    this.shown = false;
    return new Promise((resolve) => (this.resolveReady = resolve));
  }

  private drawn(): void {
    const sorted = this.mode !== 'splats' || this.stage.spark.activeSplats > 0;
    if (!this.shown && this.mode && sorted) {
      this.shown = true;
      this.firstFrameMs = performance.now() - this.started_ms;
      this.resolveReady();
    }
    this.emit('frame');
  }

  private emit(event: ViewerEvent, detail?: unknown): void {
    for (const listener of this.listeners.get(event) ?? []) listener(detail);
  }
}
