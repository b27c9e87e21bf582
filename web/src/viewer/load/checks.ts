// Refuses files that lie about their size before anything is made of them, and surfaces that cannot be drawn.

import * as THREE from 'three';

const GZIP_MAGIC = 0x8b1f;
const SPZ_MAGIC = 0x5053474e;
const SPZ_HEADER_BYTES = 16;
/** Coefficients of spherical harmonics beyond the first, by degree. */
const SH_COEFFICIENTS = [0, 3, 8, 15];
/** Splats of real heads and scenes pack by less than ten. */
const MAX_PACKING = 100;
/** What accessors of a .glb may take that the file itself does not hold. */
const MAX_IMPLIED_BYTES = 1 << 28;
const MAX_PIXELS = 1 << 26;

interface GltfJson {
  extensionsUsed?: string[];
  nodes?: { children?: number[] }[];
  accessors?: { bufferView?: number; count?: number; sparse?: unknown }[];
}

/** Check that a gzipped .spz of version 2 or 3 unpacks to what its header says. */
export async function checkSpz(data: ArrayBuffer): Promise<void> {
  const view = new DataView(data);
  if (data.byteLength < 18 || view.getUint16(0, true) !== GZIP_MAGIC) {
    throw new Error('it is no gzipped .spz of version 2 or 3; spmr-view reads the others');
  }
  const header = new DataView(await firstBytes(data, SPZ_HEADER_BYTES));
  if (header.byteLength < SPZ_HEADER_BYTES || header.getUint32(0, true) !== SPZ_MAGIC) throw new Error('it is no .spz');
  const [version, count, degree] = [header.getUint32(4, true), header.getUint32(8, true), header.getUint8(12)];
  const coefficients = SH_COEFFICIENTS[degree];
  if ((version !== 2 && version !== 3) || coefficients === undefined) throw new Error('it is of an unknown version');
  const bytes = SPZ_HEADER_BYTES + count * (16 + (version === 3 ? 4 : 3) + 3 * coefficients);
  const unpacked = view.getUint32(data.byteLength - 4, true);
  // The trailer of gzip keeps the size modulo 2^32.
  if (unpacked !== bytes % 2 ** 32) throw new Error(`it is damaged: ${count} splats do not fit its size`);
  if (bytes > data.byteLength * MAX_PACKING) throw new Error('it unpacks to far more than splats do');
}

async function firstBytes(data: ArrayBuffer, wanted: number): Promise<ArrayBuffer> {
  const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream('gzip')).getReader();
  const found = new Uint8Array(wanted);
  let length = 0;
  while (length < wanted) {
    const { done, value } = await reader.read();
    if (done) break;
    found.set(value.subarray(0, wanted - length), length);
    length += Math.min(value.length, wanted - length);
  }
  await reader.cancel();
  return found.buffer.slice(0, Math.min(length, wanted));
}

/** Check what a .glb says of itself; `unreadable` are extensions that cannot be shown. */
export function checkGlb(data: ArrayBuffer, unreadable: readonly string[]): void {
  const view = new DataView(data);
  if (data.byteLength < 20 || view.getUint32(0, true) !== 0x46546c67) throw new Error('it is no binary glTF');
  const length = view.getUint32(12, true);
  if (length > data.byteLength - 20) throw new Error('it is cut short');
  const json = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 20, length))) as GltfJson;
  const named = Array.isArray(json.extensionsUsed) ? unreadable.filter((name) => json.extensionsUsed?.includes(name)) : [];
  if (named.length > 0) throw new Error(`it uses ${named.join(', ')}, which this viewer does not know`);
  const implied = (json.accessors ?? []).reduce(
    (sum, { bufferView, count }) => sum + (bufferView === undefined ? 64 * (count ?? 0) : 0),
    0,
  );
  if (!(implied <= MAX_IMPLIED_BYTES)) throw new Error('it is damaged: it asks for far more memory than it holds data');
  if (hasCircle(json.nodes ?? [])) throw new Error('it is damaged: its nodes form a circle');
  checkPngs(data);
}

/** Tell whether nodes are among their own descendants, or have two parents. */
function hasCircle(nodes: { children?: number[] }[]): boolean {
  const parents = new Map<number, number>();
  for (const [parent, { children }] of nodes.entries()) {
    for (const child of children ?? []) {
      if (parents.has(child)) return true;
      parents.set(child, parent);
    }
  }
  const ends = new Set<number>();
  for (const start of nodes.keys()) {
    const path = new Set<number>();
    for (let at: number | undefined = start; at !== undefined && !ends.has(at); at = parents.get(at)) {
      if (path.has(at)) return true;
      path.add(at);
    }
    path.forEach((node) => ends.add(node));
  }
  return false;
}

/** Check that no picture inside is far larger than any texture. */
function checkPngs(data: ArrayBuffer): void {
  const bytes = new Uint8Array(data);
  const view = new DataView(data);
  for (let at = bytes.indexOf(0x89); at >= 0 && at + 24 <= bytes.length; at = bytes.indexOf(0x89, at + 1)) {
    if (view.getUint32(at + 1) !== 0x504e470d) continue;
    if (view.getUint32(at + 16) * view.getUint32(at + 20) > MAX_PIXELS) throw new Error('a picture in it is too large');
  }
}

/** Check that a surface has vertices, that they are numbers, and that its faces use only those. */
export function checkSurface(root: THREE.Object3D): void {
  let vertices = 0;
  root.traverse((part) => {
    if (!(part instanceof THREE.Mesh || part instanceof THREE.Points)) return;
    const geometry = part.geometry as THREE.BufferGeometry;
    const position = geometry.getAttribute('position');
    if (!position) return;
    for (let at = 0; at < position.count; at += 1) {
      if (!Number.isFinite(position.getX(at) + position.getY(at) + position.getZ(at))) {
        throw new Error('some of its vertices are no finite numbers');
      }
    }
    const index = geometry.index?.array ?? [];
    for (let at = 0; at < index.length; at += 1) {
      if ((index[at] as number) >= position.count) throw new Error('some of its faces use vertices that are not there');
    }
    vertices += geometry.index ? geometry.index.count : position.count;
  });
  if (vertices === 0) throw new Error('it holds no mesh');
}
