/** Which page is shown: the hash of the address names the head, and no hash is the start. */

/** One page: made when it is gone to, disposed of when it is left. */
export interface Page {
  readonly root: HTMLElement;
  readonly title: string;
  /** Show what the server says now. */
  update(): void;
  /** Take files that were dropped. */
  take(files: File[]): void;
  dispose(): void;
}

/** Return the id of the head the address names; null on the start page. */
export function currentHead(): string | null {
  return /^#head=([0-9a-f]{16})$/.exec(location.hash)?.[1] ?? null;
}

/** Go to a head, or to the start. */
export function goTo(head: string | null): void {
  location.hash = head ? `#head=${head}` : '';
}

export const headAddress = (id: string): string => `#head=${id}`;
