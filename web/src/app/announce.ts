/** Says things to screen readers, and shows short messages to all. */

import { element, iconButton, setText } from './dom';

const SHOWN_MS = 8000;

/** Say something to screen readers, once they are done with what they say. */
export function announce(text: string): void {
  const region = document.querySelector('#announcements');
  if (region) setText(region, text);
}

/** Show an error, one sentence, until it is closed. */
export function showError(text: string): void {
  showMessage(text, 'error');
}

/** Show a message that goes by itself. */
export function showNote(text: string): void {
  showMessage(text, 'note');
}

function showMessage(text: string, kind: 'error' | 'note'): void {
  const region = document.querySelector('#messages');
  if (!region) return;
  for (const shown of region.children) if (shown.firstElementChild?.textContent === text) shown.remove();
  const message = element('div', { class: `message message-${kind}`, role: kind === 'error' ? 'alert' : 'status' });
  message.append(element('p', {}, text), iconButton('close', 'Close this message', { onclick: () => message.remove() }));
  region.append(message);
  if (kind === 'note') setTimeout(() => message.remove(), SHOWN_MS);
}
