/** The server's HTTP interface: its types, its calls, and its errors as sentences to show. */

import type { PhotoCamera } from '../viewer';

export type HeadState = 'queued' | 'running' | 'done' | 'failed' | 'cancelled';
export type FileKind = 'splats' | 'mesh' | 'avatar' | 'hair' | 'picture' | 'report';

export interface Stage {
  stage: string;
  title: string;
  state: 'waiting' | 'running' | 'done';
  seconds: number | null;
}

export interface HeadFile {
  name: string;
  suffix: string;
  kind: FileKind;
  bytes: number;
  media_type: string;
}

export interface Quality {
  verdict: 'good' | 'fair' | 'poor';
  reasons: string[];
}

export interface Head {
  id: string;
  name: string;
  state: HeadState;
  place_in_queue: number | null;
  created: string;
  started: string | null;
  ended: string | null;
  options: Record<string, unknown>;
  photos: string[];
  stages: Stage[];
  fraction: number;
  seconds_left: number | null;
  error: { kind: string; message: string } | null;
  quality: Quality | null;
  files: HeadFile[];
  making: string[];
  photo_camera: PhotoCamera | null;
}

export interface Server {
  version: string;
  limits: { upload_bytes: number; photos: number; pixels: number; queue: number };
  expressions: string[];
  presets: Record<string, Record<string, number>>;
  formats: { suffix: string; kind: FileKind }[];
}

export interface OptionSchema {
  type?: string;
  title?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  minimum?: number;
  maximum?: number;
  items?: OptionSchema;
  anyOf?: OptionSchema[];
  $ref?: string;
}

export interface OptionsSchema {
  properties: Record<string, OptionSchema>;
  $defs?: Record<string, OptionSchema>;
}

export interface FoundFaces {
  width: number;
  height: number;
  faces: { face: number; box_px: [number, number, number, number] }[];
}

export interface FaceReading {
  face: boolean;
  expressions: Record<string, number>;
  head_rotation_deg: [number, number, number];
}

const NO_ANSWER = 'The program on this computer does not answer. Start spmr-app again, then reload this page.';

/** Ask the server; what it refuses, or that it does not answer, is an error with one sentence to show. */
async function call(path: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new Error(NO_ANSWER);
  }
  if (response.ok) return response;
  throw new Error(await errorMessage(response));
}

async function errorMessage(response: Response): Promise<string> {
  try {
    const body = (await response.json()) as { error?: { message?: string } };
    if (body.error?.message) return body.error.message;
  } catch {
    // No JSON: the status has to do.
  }
  return `The server answered with status ${response.status}.`;
}

async function callJson<T>(path: string, init?: RequestInit): Promise<T> {
  return (await (await call(path, init)).json()) as T;
}

const headPath = (id: string): string => `/api/heads/${encodeURIComponent(id)}`;

export const getServer = (): Promise<Server> => callJson('/api/server');
export const getOptions = (): Promise<OptionsSchema> => callJson('/api/options');
export const getHeads = async (): Promise<Head[]> => (await callJson<{ heads: Head[] }>('/api/heads')).heads;

/** Start a head from one photo or several of one person. */
export function createHead(photos: File[], options: Record<string, unknown>, name: string): Promise<Head> {
  const body = new FormData();
  for (const photo of photos) body.append('photos', photo, photo.name);
  body.append('options', JSON.stringify(options));
  if (name) body.append('name', name);
  return callJson('/api/heads', { method: 'POST', body });
}

/** Cancel a head that is being made, and remove it with everything it has. */
export async function deleteHead(id: string): Promise<void> {
  await call(headPath(id), { method: 'DELETE' });
}

/** Ask for one more file of a finished head. */
export function makeFile(id: string, name: string): Promise<Head> {
  return callJson(`${headPath(id)}/files`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ name }),
  });
}

/** Find the faces of a photo, largest first. */
export function findFaces(photo: File): Promise<FoundFaces> {
  const body = new FormData();
  body.append('photo', photo, photo.name);
  return callJson('/api/faces', { method: 'POST', body });
}

/** Read the expression of the face in one picture of a webcam. */
export function readExpression(frame: Blob, signal: AbortSignal): Promise<FaceReading> {
  return callJson('/api/expressions', { method: 'POST', headers: { 'Content-Type': frame.type }, body: frame, signal });
}

export function fileUrl(head: Head, name: string, { download = false } = {}): string {
  return `${headPath(head.id)}/files/${encodeURIComponent(name)}${download ? '?download=1' : ''}`;
}

export const photoUrl = (head: Head, index = 0): string => `${headPath(head.id)}/photos/${index}`;

/** Return the sentence to show for anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
