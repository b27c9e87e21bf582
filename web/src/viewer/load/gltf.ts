// Reads .glb and .vrm: meshes and avatars.

import { VRMLoaderPlugin, type VRM, type VRMSpringBoneManager } from '@pixiv/three-vrm';
import * as THREE from 'three';
import { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js';
import { MeshoptDecoder } from 'three/addons/libs/meshopt_decoder.module.js';

import { checkGlb } from './checks';
import type { Content, LoadedFile } from './content';

/** Extensions that change the geometry itself and need decoders that are not built in. */
const UNREADABLE = ['KHR_draco_mesh_compression', 'KHR_texture_basisu', 'KHR_gaussian_splatting'];

/** Read a .glb or .vrm; what has morph targets or bones is an avatar. */
export async function loadGltf(file: LoadedFile): Promise<Content> {
  checkGlb(file.data, UNREADABLE);
  const loader = new GLTFLoader();
  loader.register((parser) => new VRMLoaderPlugin(parser));
  loader.setMeshoptDecoder(MeshoptDecoder);
  const gltf = await loader.parseAsync(file.data, '');
  const vrm = (gltf.userData.vrm as VRM | undefined) ?? null;
  const springs = (gltf.userData.vrmSpringBoneManager as VRMSpringBoneManager | undefined) ?? null;
  let moves = false;
  gltf.scene.traverse((part) => {
    if (!(part instanceof THREE.Mesh)) return;
    moves ||= part instanceof THREE.SkinnedMesh || part.morphTargetInfluences !== undefined;
  });
  return { kind: moves ? 'avatar' : 'mesh', root: gltf.scene, animations: gltf.animations, vrm, springs };
}
