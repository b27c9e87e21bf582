/** Says things to screen readers, and shows errors to all. */

import { element, iconButton, setText } from './dom';

/** Say something to screen readers, once they are done with what they say. */
export function announce(text: string): void {
  const region = document.querySelector('#announcements');
  if (region) setText(region, text);
}

/** Show an error, one sentence, until it is closed; the same sentence is shown once. */
export function showError(text: string): void {
  const region = document.querySelector('#messages');
  if (!region) return;
  for (const shown of region.children) if (shown.firstElementChild?.textContent === text) shown.remove();
  const message = element('div', { class: 'message', role: 'alert' }, element('p', {}, text));
  message.append(iconButton('close', 'Close this message', { onclick: () => message.remove() }));
  region.append(message);
}
