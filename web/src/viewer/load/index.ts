// Reads files by their suffixes; a .ply by what its header names.

import type { SourceFile } from '../types';
import { checkSurface } from './checks';
import { suffixOf, type Content, type LoadedFile } from './content';
import { loadGltf } from './gltf';
import { loadObj, loadPlyMesh, loadStl } from './meshes';
import { loadSplats } from './splats';

/** Suffixes of what is shown; others may lie beside an .obj. */
export const SUFFIXES = ['.ply', '.spz', '.splat', '.glb', '.vrm', '.obj', '.stl'] as const;

/** Read all files that hold a head; an .obj finds its materials and pictures among the others by their names. */
export async function loadContents(files: SourceFile[]): Promise<Content[]> {
  const shown = files.filter((file) => SUFFIXES.some((known) => known === suffixOf(file.name)));
  if (shown.length === 0) {
    throw new Error(`There is nothing to show in ${files.map((file) => file.name).join(', ')}: known are ${SUFFIXES.join(' ')}.`);
  }
  return Promise.all(shown.map((file) => loadOne(file, files)));
}

async function loadOne(file: SourceFile, beside: SourceFile[]): Promise<Content> {
  const loaded = { name: file.name, data: await bytesOf(file) };
  try {
    const content = await parse(loaded, beside);
    if (content.kind !== 'splats') checkSurface(content.root);
    return content;
  } catch (error) {
    throw new Error(`${file.name} cannot be read: ${oneLine(error)}`);
  }
}

async function parse(file: LoadedFile, beside: SourceFile[]): Promise<Content> {
  if (file.data.byteLength === 0) throw new Error('it is empty');
  switch (suffixOf(file.name)) {
    case '.glb':
    case '.vrm':
      return loadGltf(file);
    case '.obj':
      return loadObj(file, beside);
    case '.stl':
      return loadStl(file);
    case '.ply':
      return holdsSplats(file.data) ? loadSplats(file) : loadPlyMesh(file);
    default:
      return loadSplats(file);
  }
}

async function bytesOf(file: SourceFile): Promise<ArrayBuffer> {
  if (typeof file.data !== 'string') return file.data;
  const answer = await fetch(file.data);
  if (!answer.ok) throw new Error(`${file.name} cannot be fetched: ${answer.status} ${answer.statusText}`);
  return answer.arrayBuffer();
}

function holdsSplats(data: ArrayBuffer): boolean {
  const head = new TextDecoder('latin1').decode(data.slice(0, 8192));
  const header = head.slice(0, head.indexOf('end_header'));
  return /property \w+ (f_dc_0|packed_position)\b/.test(header);
}

function oneLine(error: unknown): string {
  if (error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError) {
    return `it is damaged (${error.message})`; // what readers run into where a file is not what they expect
  }
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/\s+/g, ' ').replace(/^THREE\.\w+: /, '');
}
