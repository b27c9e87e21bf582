// What was read from files: splats, and a surface with or without a rig.

import type { SplatMesh } from '@sparkjsdev/spark';
import type { VRM, VRMSpringBoneManager } from '@pixiv/three-vrm';
import type * as THREE from 'three';

/** A surface, in metres, +Y up, front +Z. */
export interface SurfaceContent {
  kind: 'mesh' | 'avatar';
  root: THREE.Object3D;
  animations: THREE.AnimationClip[];
  vrm: VRM | null;
  springs: VRMSpringBoneManager | null;
}

export type Content = { kind: 'splats'; splats: SplatMesh } | SurfaceContent;

/** Return a mesh without a rig. */
export function plainMesh(root: THREE.Object3D): SurfaceContent {
  return { kind: 'mesh', root, animations: [], vrm: null, springs: null };
}

/** A file with its bytes. */
export interface LoadedFile {
  name: string;
  data: ArrayBuffer;
}

/** Return a file's suffix in lower case, with its dot. */
export function suffixOf(name: string): string {
  const dot = name.lastIndexOf('.');
  return dot < 0 ? '' : name.slice(dot).toLowerCase();
}
