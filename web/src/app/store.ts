/** All heads as the server has them, kept current by its events. */

import { getHeads, type Head } from './api';

const RETRY_MS = 2000;

/** The heads, newest first, for whoever asks to be told of changes. */
export class HeadStore {
  private readonly heads = new Map<string, Head>();
  private readonly listeners = new Set<() => void>();
  private loading: Promise<void> | null = null;

  /** Whether the server answers. */
  isOnline = true;
  /** Whether the heads have been read at least once. */
  isLoaded = false;

  /** Begin to listen. */
  connect(): void {
    const events = new EventSource('/api/events');
    events.addEventListener('open', () => void this.refresh());
    events.addEventListener('head', (event) => this.put(JSON.parse(event.data as string) as Head));
    events.addEventListener('deleted', (event) => this.remove((JSON.parse(event.data as string) as { id: string }).id));
    events.addEventListener('error', () => {
      this.setOnline(false);
      if (events.readyState === EventSource.CLOSED) setTimeout(() => this.connect(), RETRY_MS);
    });
  }

  /** Read all heads anew. */
  refresh(): Promise<void> {
    this.loading ??= this.read().finally(() => (this.loading = null));
    return this.loading;
  }

  private async read(): Promise<void> {
    try {
      const heads = await getHeads();
      this.heads.clear();
      for (const head of heads) this.heads.set(head.id, head);
      this.isLoaded = true;
      this.isOnline = true;
    } catch {
      this.isOnline = false;
    }
    this.tell();
  }

  get all(): Head[] {
    return [...this.heads.values()].sort((a, b) => b.created.localeCompare(a.created));
  }

  /** Heads that wait or are being made, in the order of the queue. */
  get unfinished(): Head[] {
    return this.all
      .filter(isUnfinished)
      .sort((a, b) => (a.place_in_queue ?? 0) - (b.place_in_queue ?? 0) || a.created.localeCompare(b.created));
  }

  get(id: string): Head | undefined {
    return this.heads.get(id);
  }

  put(head: Head): void {
    this.heads.set(head.id, head);
    this.isOnline = true;
    this.tell();
  }

  remove(id: string): void {
    if (this.heads.delete(id)) this.tell();
  }

  /** Call a function after every change; return what ends that. */
  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private setOnline(value: boolean): void {
    if (this.isOnline === value) return;
    this.isOnline = value;
    this.tell();
  }

  private tell(): void {
    for (const listener of [...this.listeners]) listener();
  }
}

export function isUnfinished(head: Head): boolean {
  return head.state === 'queued' || head.state === 'running';
}
