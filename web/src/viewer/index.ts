// The viewer of heads: splats, meshes and avatars in one canvas.

import type { Mode, PhotoCamera, SourceFile, ViewerEvent, ViewerStats } from './types';

export type { Mode, PhotoCamera, SourceFile, ViewerEvent, ViewerStats } from './types';

const missing = (): never => {
  throw new Error('The viewer is not written yet.');
};

/** Shows one head in a container. */
export class HeadViewer {
  /** Settles when the first frame with the content is drawn. */
  readonly ready: Promise<void> = Promise.resolve();

  constructor(_container: HTMLElement, _options: { background?: string } = {}) {}

  load(_files: SourceFile[]): Promise<void> {
    return missing();
  }
  unload(): void {}
  dispose(): void {}
  get modes(): Mode[] {
    return [];
  }
  setMode(_mode: Mode): void {
    missing();
  }
  setCompare(_left: Mode, _right: Mode, _fraction: number): void {
    missing();
  }
  clearCompare(): void {}
  setLight(_azimuth_deg: number, _elevation_deg: number): void {}
  get expressionNames(): string[] {
    return [];
  }
  setExpression(_weights: Record<string, number>): void {}
  setHeadRotation(_pitch_deg: number, _yaw_deg: number, _roll_deg: number): void {}
  get clips(): string[] {
    return [];
  }
  playClip(_name: string | null): void {}
  setPhoto(_url: string | null, _camera?: PhotoCamera): void {}
  setPhotoOpacity(_opacity: number): void {}
  lookFromPhoto(): void {}
  resetView(): void {}
  setCameras(_cameras: PhotoCamera[] | null): void {}
  snapshot(): Promise<Blob> {
    return missing();
  }
  on(_event: ViewerEvent, _listener: (detail?: unknown) => void): () => void {
    return () => {};
  }
  stats(): ViewerStats {
    return { splats: 0, triangles: 0, framesPerSecond: 0, firstFrameMs: 0 };
  }
}
