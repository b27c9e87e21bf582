// Reads meshes without a rig: .ply, .obj with its materials and pictures, .stl.

import * as THREE from 'three';
import { MTLLoader } from 'three/addons/loaders/MTLLoader.js';
import { OBJLoader } from 'three/addons/loaders/OBJLoader.js';
import { PLYLoader } from 'three/addons/loaders/PLYLoader.js';
import { STLLoader } from 'three/addons/loaders/STLLoader.js';

import type { SourceFile } from '../types';
import { plainMesh, type LoadedFile, type SurfaceContent } from './content';

const PLAIN_COLOUR = 0xc9c5be;
/** Our .stl files are in millimetres; a head in metres is never this large. */
const LARGEST_METRES = 10;

/** Read a mesh with colours per vertex, or a cloud of points. */
export function loadPlyMesh(file: LoadedFile): SurfaceContent {
  const geometry = new PLYLoader().parse(file.data);
  const hasColours = geometry.hasAttribute('color');
  if (!geometry.index) {
    const colour = hasColours ? 0xffffff : PLAIN_COLOUR;
    const material = new THREE.PointsMaterial({ color: colour, vertexColors: hasColours, size: 2, sizeAttenuation: false });
    return plainMesh(new THREE.Points(geometry, material));
  }
  return plainMesh(litMesh(geometry, hasColours));
}

/** Read a surface for printing. */
export function loadStl(file: LoadedFile): SurfaceContent {
  const geometry = new STLLoader().parse(file.data);
  geometry.computeBoundingSphere();
  if ((geometry.boundingSphere?.radius ?? 0) > LARGEST_METRES) geometry.scale(1e-3, 1e-3, 1e-3);
  return plainMesh(litMesh(geometry, geometry.hasAttribute('color')));
}

/** Read a Wavefront mesh; files are found by their own names, wherever the .obj says they lie. */
export async function loadObj(file: LoadedFile, beside: SourceFile[]): Promise<SurfaceContent> {
  const text = new TextDecoder().decode(file.data);
  const urls = new Map(beside.map((each) => [each.name.toLowerCase(), urlOf(each)]));
  const manager = new THREE.LoadingManager();
  manager.setURLModifier((url) => urls.get(baseName(url)) ?? url);
  const settled = new Promise<void>((resolve) => {
    manager.onLoad = resolve;
  });
  try {
    const loader = new OBJLoader(manager);
    const library = /^mtllib\s+(.+)$/m.exec(text)?.[1];
    const materialUrl = library && urls.get(baseName(library.trim()));
    if (materialUrl) {
      const materials = new MTLLoader(manager).parse(await (await fetch(materialUrl)).text(), '');
      keepKnownPictures(materials, urls);
      manager.itemStart(file.name);
      materials.preload();
      loader.setMaterials(materials);
      manager.itemEnd(file.name);
      await settled;
    }
    const root = loader.parse(text);
    root.traverse((part) => part instanceof THREE.Mesh && (part.material = asStandard(part.material)));
    return plainMesh(root);
  } finally {
    for (const [name, url] of urls) if (url.startsWith('blob:') && name) URL.revokeObjectURL(url);
  }
}

/** Leave out pictures that are not among the files, so that nothing else is asked for. */
function keepKnownPictures(materials: MTLLoader.MaterialCreator, urls: Map<string, string>): void {
  for (const info of Object.values(materials.materialsInfo)) {
    for (const [key, value] of Object.entries(info as Record<string, unknown>)) {
      if (!/^(map_|bump|disp|norm)/i.test(key) || typeof value !== 'string') continue;
      const name = value.trim().split(/\s+/).pop() ?? '';
      if (!urls.has(baseName(name))) delete (info as Record<string, unknown>)[key];
    }
  }
}

function asStandard(materials: THREE.Material | THREE.Material[]): THREE.Material | THREE.Material[] {
  if (Array.isArray(materials)) return materials.map((each) => asStandard(each) as THREE.Material);
  const from = materials as THREE.MeshPhongMaterial;
  const hasPicture = from.map !== null && from.map !== undefined;
  const standard = new THREE.MeshStandardMaterial({
    name: from.name,
    map: from.map ?? null,
    normalMap: from.normalMap ?? null,
    alphaMap: from.alphaMap ?? null,
    color: hasPicture ? 0xffffff : (from.color ?? PLAIN_COLOUR),
    vertexColors: from.vertexColors,
    roughness: 0.7,
    side: THREE.DoubleSide,
    alphaTest: from.alphaMap ? 0.5 : 0,
  });
  if (standard.map) standard.map.colorSpace = THREE.SRGBColorSpace;
  from.dispose();
  return standard;
}

function litMesh(geometry: THREE.BufferGeometry, hasColours: boolean): THREE.Mesh {
  if (!geometry.hasAttribute('normal')) geometry.computeVertexNormals();
  const material = new THREE.MeshStandardMaterial({
    color: hasColours ? 0xffffff : PLAIN_COLOUR,
    vertexColors: hasColours,
    roughness: 0.7,
    side: THREE.DoubleSide,
  });
  return new THREE.Mesh(geometry, material);
}

function urlOf(file: SourceFile): string {
  return typeof file.data === 'string' ? file.data : URL.createObjectURL(new Blob([file.data]));
}

function baseName(path: string): string {
  return (path.split(/[\\/]/).pop() ?? '').toLowerCase();
}
