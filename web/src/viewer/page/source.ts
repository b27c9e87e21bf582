// What the page shows: files and cameras that spmr-view serves, or that lie in the page itself.

import type { PhotoCamera, SourceFile } from '../types';

/** A camera of a folder of views, and where its picture is. */
export interface NamedCamera extends PhotoCamera {
  name: string;
  picture: string | null;
}

export interface Shown {
  title: string;
  files: SourceFile[];
  cameras: NamedCamera[];
}

interface Index {
  title: string;
  files: { name: string; url: string }[];
  cameras: NamedCamera[];
}

/** Read the page's own contents, or ask the server that it came from. */
export async function readShown(): Promise<Shown> {
  const inside = [...document.querySelectorAll<HTMLScriptElement>('script[data-file]')];
  if (inside.length > 0) {
    const files = inside.map((element) => ({ name: element.dataset.file ?? '', data: decode(element.textContent) }));
    return { title: document.title, files, cameras: [] };
  }
  const answer = await fetch('index.json');
  if (!answer.ok) throw new Error('spmr-view no longer answers; start it again.');
  const index = (await answer.json()) as Index;
  return { ...index, files: index.files.map(({ name, url }) => ({ name, data: url })) };
}

function decode(base64: string): ArrayBuffer {
  const text = atob(base64.trim());
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  return bytes.buffer;
}
