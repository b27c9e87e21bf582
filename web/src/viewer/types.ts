// What the viewer takes and tells: modes, cameras of photos, files, figures.

/** How the head is drawn. */
export type Mode = 'splats' | 'mesh' | 'avatar' | 'wireframe' | 'normals';

/** A pinhole camera in OpenCV's axes (+X right, +Y down, +Z forward); the world is that of the files, in metres. */
export interface PhotoCamera {
  width_px: number;
  height_px: number;
  /** [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]. */
  intrinsics_px: number[][];
  /** 4 x 4, rows first. */
  camera_from_world: number[][];
}

/** A file to show: its name, whose suffix tells the format, and its bytes or where they are. */
export interface SourceFile {
  name: string;
  data: ArrayBuffer | string;
}

/** Figures of what is shown. */
export interface ViewerStats {
  splats: number;
  triangles: number;
  framesPerSecond: number;
  /** From the call of `load` to the first frame with the content, in milliseconds. */
  firstFrameMs: number;
}

export type ViewerEvent = 'frame' | 'loaded' | 'error';
