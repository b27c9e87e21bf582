// The canvas: renderer, scene, light, and frames that are drawn when something has changed.

import { SparkRenderer } from '@sparkjsdev/spark';
import * as THREE from 'three';

import { Lighting } from './lighting';
import { Orbit } from './orbit';

/** Variance in squared pixels that drawing adds to each splat, as the fit does. */
const DILATION_PX2 = 0.1;
/** Alpha below this counts as none, and splats are drawn out to where theirs falls below it. */
const MIN_ALPHA = 1 / 255;
const MAX_STD_DEV = Math.sqrt(2 * Math.log(255));
const MAX_PIXEL_RATIO = 2;
/** Frames drawn further apart than this tell nothing about the speed. */
const IDLE_MS = 500;
const REMEMBERED_FRAMES = 30;
const MAX_SORT_MS = 60_000;

/** A part of the canvas, in fractions of its width, and what is done before it is drawn. */
export interface Pane {
  from: number;
  to: number;
  prepare(): void;
}

/** Draws a scene into a canvas that fills its container. */
export class Stage {
  readonly canvas = document.createElement('canvas');
  readonly scene = new THREE.Scene();
  readonly renderer: THREE.WebGLRenderer;
  readonly spark: SparkRenderer;
  readonly lighting: Lighting;
  readonly orbit: Orbit;
  private readonly observer: ResizeObserver;
  private readonly intervals: number[] = [];
  private lastFrame = 0;
  private asked = 0;

  constructor(
    private readonly container: HTMLElement,
    private readonly options: { background?: string; panes(): Pane[]; update(seconds: number): boolean; drawn(): void },
  ) {
    this.renderer = new THREE.WebGLRenderer({ canvas: this.canvas, antialias: true, alpha: true });
    this.renderer.toneMapping = THREE.NoToneMapping;
    this.renderer.shadowMap.enabled = true;
    this.renderer.shadowMap.type = THREE.PCFShadowMap;
    this.renderer.info.autoReset = false;
    if (options.background) this.scene.background = new THREE.Color(options.background);
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute('role', 'img');
    this.canvas.setAttribute('aria-label', 'Head in 3D. Arrow keys turn it, plus and minus zoom, 0 resets the view.');
    this.canvas.style.cssText = 'display:block;width:100%;height:100%;touch-action:none';
    container.append(this.canvas);
    this.lighting = new Lighting(this.scene, this.renderer);
    this.spark = new SparkRenderer({
      renderer: this.renderer,
      onDirty: () => this.request(),
      preBlurAmount: DILATION_PX2,
      blurAmount: 0,
      minAlpha: MIN_ALPHA,
      maxStdDev: MAX_STD_DEV,
      sortRadial: false,
      accumExtSplats: true,
      enableLod: false,
    });
    this.scene.add(this.spark);
    this.orbit = new Orbit(this.canvas, () => this.request());
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(container);
    this.resize();
  }

  /** Have a frame drawn soon. */
  request(): void {
    if (this.asked === 0) this.asked = requestAnimationFrame((time) => this.frame(time));
  }

  get framesPerSecond(): number {
    const sum = this.intervals.reduce((total, each) => total + each, 0);
    return sum > 0 ? (1000 * this.intervals.length) / sum : 0;
  }

  /** Draw now. */
  draw(): void {
    const { renderer } = this;
    const size = renderer.getSize(new THREE.Vector2());
    renderer.info.reset();
    renderer.setScissorTest(false);
    for (const pane of this.options.panes()) {
      pane.prepare();
      const [left, right] = [Math.round(pane.from * size.x), Math.round(pane.to * size.x)];
      renderer.setScissorTest(left > 0 || right < size.x);
      renderer.setScissor(left, 0, right - left, size.y);
      renderer.render(this.scene, this.orbit.camera);
    }
    renderer.setScissorTest(false);
  }

  /** Return a picture of the canvas, its splats in order. */
  async snapshot(): Promise<Blob> {
    this.draw();
    const patience_ms = performance.now() + MAX_SORT_MS;
    while (this.spark.visible && this.isSorting && performance.now() < patience_ms) await pause(10);
    this.draw();
    return new Promise((resolve, reject) => {
      this.canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('the picture cannot be made'))), 'image/png');
    });
  }

  private get isSorting(): boolean {
    return this.spark.sorting || this.spark.sortDirty;
  }

  dispose(): void {
    cancelAnimationFrame(this.asked);
    this.asked = -1;
    this.observer.disconnect();
    this.orbit.dispose();
    this.lighting.dispose();
    this.spark.dispose();
    this.renderer.dispose();
    this.canvas.remove();
  }

  private frame(time: number): void {
    this.asked = 0;
    const passed_ms = time - this.lastFrame;
    this.lastFrame = time;
    if (passed_ms < IDLE_MS) {
      this.intervals.push(passed_ms);
      if (this.intervals.length > REMEMBERED_FRAMES) this.intervals.shift();
    }
    const turns = this.orbit.update();
    const moves = this.options.update(Math.min(passed_ms, 100) / 1000);
    this.draw();
    if (turns || moves) this.request();
    this.options.drawn();
  }

  private resize(): void {
    const { clientWidth: width, clientHeight: height } = this.container;
    if (width === 0 || height === 0) return;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, MAX_PIXEL_RATIO));
    this.renderer.setSize(width, height, false);
    this.orbit.resize(width, height);
    this.request();
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
