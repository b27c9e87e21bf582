/** Dialogs: they keep the focus inside, close with Escape, and give the focus back. */

import { button, element, iconButton, uniqueId } from './dom';

export interface Dialog {
  root: HTMLDialogElement;
  close(): void;
}

/** Open a dialog with a title; `onClosed` is called however it closes. */
export function openDialog(title: string, content: Node[], onClosed: () => void = () => {}): Dialog {
  const titleId = uniqueId('dialog-title');
  const before = document.activeElement;
  const root = element('dialog', { class: 'dialog', 'aria-labelledby': titleId });
  const close = (): void => root.close();
  root.append(
    element(
      'div',
      { class: 'dialog-head' },
      element('h2', { id: titleId }, title),
      iconButton('close', 'Close', { onclick: close }),
    ),
    ...content,
  );
  root.addEventListener('close', () => {
    root.remove();
    onClosed();
    if (before instanceof HTMLElement && before.isConnected) before.focus();
  });
  document.body.append(root);
  root.showModal();
  return { root, close };
}

export interface Question {
  question: string;
  consequence: string;
  /** What the two buttons say. */
  yes: string;
  no: string;
}

/** Ask before something is done that cannot be undone. */
export function confirmAction({ question, consequence, yes, no }: Question): Promise<boolean> {
  return new Promise((resolve) => {
    let agreed = false;
    const stay = button(no, { onclick: () => dialog.close(), autofocus: true });
    const go = button(yes, {
      class: 'button button-danger',
      onclick: () => {
        agreed = true;
        dialog.close();
      },
    });
    const dialog = openDialog(
      question,
      [element('p', {}, consequence), element('div', { class: 'dialog-actions' }, stay, go)],
      () => resolve(agreed),
    );
  });
}
