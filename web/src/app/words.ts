/** Plain words for what the server says in numbers and names. */

import type { FileKind, Head, Quality } from './api';

/** Say how long something will take: "12 s", "3 min". */
export function duration(seconds: number): string {
  if (seconds < 1) return 'a moment';
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** Say a time of a clip: "0:07.4". */
export function clock(seconds: number): string {
  const tenths = Math.round(seconds * 10);
  const minutes = Math.floor(tenths / 600);
  return `${minutes}:${((tenths % 600) / 10).toFixed(1).padStart(4, '0')}`;
}

export function fileSize(bytes: number): string {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

const ORDINALS = ['', 'first', 'second', 'third', 'fourth', 'fifth'];

/** Say the state of a head in a few words. */
export function stateWords(head: Head): string {
  switch (head.state) {
    case 'queued':
      return head.place_in_queue ? `Waiting, ${ORDINALS[head.place_in_queue] ?? `number ${head.place_in_queue}`} in line` : 'Waiting';
    case 'running':
      return `${percent(head)} · ${timeLeft(head)}`;
    case 'done':
      return head.quality ? VERDICTS[head.quality.verdict] : 'Done';
    case 'failed':
      return 'Failed';
    case 'cancelled':
      return 'Cancelled';
  }
}

export function percent(head: Head): string {
  return `${Math.round(100 * head.fraction)} %`;
}

export function timeLeft(head: Head): string {
  return head.seconds_left === null ? 'just begun' : `${duration(head.seconds_left)} left`;
}

export const VERDICTS: Record<Quality['verdict'], string> = {
  good: 'Good result',
  fair: 'Fair result',
  poor: 'Poor result',
};

/** Begin a sentence with a capital letter and end it with a full stop. */
export function asSentence(text: string): string {
  const trimmed = text.trim();
  return trimmed && trimmed[0]!.toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? '' : '.');
}

const FILE_WORDS: Record<string, string> = {
  ply: 'For most viewers',
  spz: 'Much smaller',
  splat: 'For older web viewers',
  glb: 'For Blender, games and the web',
  vrm: 'For virtual worlds',
  usdz: 'For Apple devices and USD',
  obj: 'With a texture, for any 3D program',
  stl: 'For 3D printing',
  '3mf': 'For 3D printing, with its size',
  off: 'As plain text',
  usdc: 'Strands of hair, for Blender',
  usda: 'Strands of hair, as text',
  png: 'Picture',
  mp4: 'Film of one turn',
  json: 'Report, all figures and choices',
};

const KIND_WORDS: Record<FileKind, string> = {
  splats: 'Splats',
  mesh: 'Mesh',
  avatar: 'Avatar',
  hair: 'Hair',
  picture: 'Picture',
  report: 'Report',
};

/** Say what a format is good for. */
export function fileWords(suffix: string, kind: FileKind): string {
  return FILE_WORDS[suffix] ?? KIND_WORDS[kind];
}

export function dateWords(iso: string): string {
  return new Date(iso).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}
