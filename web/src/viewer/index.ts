// The viewer of heads: splats, meshes and avatars in one canvas.

export { HeadViewer } from './head_viewer';
export type { Mode, PhotoCamera, SourceFile, ViewerEvent, ViewerStats } from './types';
