// Reads .glb and .vrm: meshes and avatars.

import { VRMLoaderPlugin, type VRM, type VRMSpringBoneManager } from '@pixiv/three-vrm';
import * as THREE from 'three';
import { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js';
import { MeshoptDecoder } from 'three/addons/libs/meshopt_decoder.module.js';

import type { Content, LoadedFile } from './content';

/** Extensions that change the geometry itself and need decoders that are not built in. */
const UNREADABLE = ['KHR_draco_mesh_compression', 'KHR_texture_basisu', 'KHR_gaussian_splatting'];

/** Read a .glb or .vrm; what has morph targets or bones is an avatar. */
export async function loadGltf(file: LoadedFile): Promise<Content> {
  refuse(file.data);
  const loader = new GLTFLoader();
  loader.register((parser) => new VRMLoaderPlugin(parser));
  loader.setMeshoptDecoder(MeshoptDecoder);
  const gltf = await loader.parseAsync(file.data, '');
  const vrm = (gltf.userData.vrm as VRM | undefined) ?? null;
  const springs = (gltf.userData.vrmSpringBoneManager as VRMSpringBoneManager | undefined) ?? null;
  let meshes = 0;
  let moves = false;
  gltf.scene.traverse((part) => {
    if (!(part instanceof THREE.Mesh)) return;
    meshes += 1;
    moves ||= part instanceof THREE.SkinnedMesh || part.morphTargetInfluences !== undefined;
  });
  if (meshes === 0) throw new Error('it holds no mesh');
  return { kind: moves ? 'avatar' : 'mesh', root: gltf.scene, animations: gltf.animations, vrm, springs };
}

function refuse(data: ArrayBuffer): void {
  const view = new DataView(data);
  if (data.byteLength < 20 || view.getUint32(0, true) !== 0x46546c67) throw new Error('it is no binary glTF');
  const json = new TextDecoder().decode(new Uint8Array(data, 20, Math.min(view.getUint32(12, true), data.byteLength - 20)));
  const used: unknown = (JSON.parse(json) as { extensionsUsed?: unknown }).extensionsUsed;
  const unreadable = Array.isArray(used) ? UNREADABLE.filter((name) => used.includes(name)) : [];
  if (unreadable.length > 0) throw new Error(`it uses ${unreadable.join(', ')}, which this viewer does not know`);
}
