/** The panel of files: every format to download, made on demand, and deleting the head. */

import { announce, showError } from './announce';
import { fileUrl, makeFile, messageOf, type FileKind, type Head, type Server } from './api';
import { button, element, fill, icon, setText } from './dom';
import { removeHead } from './gallery';
import { goTo } from './router';
import { saveAs, saveUrl } from './save';
import type { ViewerStage } from './stage';
import type { HeadStore } from './store';
import { asSentence, fileSize, fileWords } from './words';

/** The parts of the list, in order. */
const SECTIONS: { title: string; kinds: FileKind[] }[] = [
  { title: 'Splats', kinds: ['splats'] },
  { title: 'Avatar', kinds: ['avatar'] },
  { title: 'Mesh', kinds: ['mesh'] },
  { title: 'More', kinds: ['hair', 'picture', 'report'] },
];

interface Row {
  root: HTMLElement;
  hint: HTMLElement;
  action: HTMLElement;
  shown: string;
}

export class FilesPanel {
  readonly root: HTMLElement;
  private readonly rows = new Map<string, Row>();
  private readonly lists = new Map<FileKind, HTMLElement>();
  /** Files that are saved as soon as they are made. */
  private readonly wanted = new Set<string>();
  /** Those of them that the server has begun with. */
  private readonly seenMaking = new Set<string>();

  constructor(
    private head: Head,
    private readonly server: Server,
    private readonly store: HeadStore,
    stage: ViewerStage | null,
  ) {
    const sections = SECTIONS.map(({ title, kinds }) => {
      const list = element('ul', { class: 'files' });
      for (const kind of kinds) this.lists.set(kind, list);
      return element('section', {}, element('h2', {}, title), list);
    });
    const picture = stage && button('Save a picture of this view', { onclick: () => void savePicture(stage, this.head) }, 'photo');
    const remove = button('Delete this head', { class: 'button button-quiet button-danger', onclick: () => void this.remove() }, 'trash');
    this.root = element('div', { class: 'panel-content' }, ...sections, element('div', { class: 'row row-last' }, picture, remove));
    this.update(head);
  }

  update(head: Head): void {
    this.head = head;
    const offered = this.server.formats.map(({ suffix, kind }) => ({ name: `${kind === 'hair' ? 'hair' : 'head'}.${suffix}`, suffix, kind }));
    for (const { name, suffix, kind } of [...offered, ...head.files]) this.showRow(name, suffix, kind);
    for (const list of this.lists.values()) list.parentElement!.hidden = list.children.length === 0;
    for (const name of this.wanted) this.settle(name);
  }

  private showRow(name: string, suffix: string, kind: FileKind): void {
    let row = this.rows.get(name);
    if (!row) {
      row = makeRow(name, fileWords(suffix, kind));
      this.rows.set(name, row);
      this.lists.get(kind)?.append(row.root);
    }
    const file = this.head.files.find((each) => each.name === name);
    const state = file ? 'ready' : this.head.making.includes(name) || this.wanted.has(name) ? 'making' : 'none';
    row.root.dataset['state'] = state;
    setText(row.hint, file ? `${name} · ${fileSize(file.bytes)}` : name);
    this.showProgress(row, name);
    if (row.shown === state) return;
    const hadFocus = row.action.contains(document.activeElement);
    row.shown = state;
    fill(row.action, this.actionOf(state, name));
    if (hadFocus) row.action.querySelector<HTMLElement>('a, button')?.focus();
  }

  private showProgress(row: Row, name: string): void {
    const bar = row.action.querySelector('progress');
    if (!bar) return;
    if (this.head.making[0] === name && this.head.stages.length > 0) bar.value = this.head.fraction;
    else bar.removeAttribute('value');
  }

  private actionOf(state: string, name: string): Node {
    if (state === 'ready') {
      const href = fileUrl(this.head, name, { download: true });
      return element('a', { class: 'button', href, download: name, 'aria-label': `Download ${name}` }, icon('download'), 'Download');
    }
    if (state === 'making') {
      return element('div', { class: 'making', tabindex: -1 }, element('progress', { 'aria-label': `Making ${name}` }), 'Making …');
    }
    return button('Make', { 'aria-label': `Make ${name}`, onclick: () => void this.make(name) }, 'plus');
  }

  private async make(name: string): Promise<void> {
    this.wanted.add(name);
    this.update(this.head);
    announce(`Making ${name}.`);
    try {
      this.store.put(await makeFile(this.head.id, name));
    } catch (error) {
      this.wanted.delete(name);
      this.update(this.head);
      showError(messageOf(error));
    }
  }

  /** Save a wanted file that is there now, or say that it could not be made. */
  private settle(name: string): void {
    if (this.head.making.includes(name)) {
      this.seenMaking.add(name);
      return;
    }
    const isMade = this.head.files.some((file) => file.name === name);
    if (!isMade && !this.seenMaking.has(name)) return;
    this.wanted.delete(name);
    this.seenMaking.delete(name);
    if (isMade) {
      announce(`${name} is made.`);
      saveUrl(fileUrl(this.head, name, { download: true }), name);
    } else {
      showError(asSentence(this.head.error?.message ?? `${name} could not be made`));
    }
    this.update(this.head);
  }

  private async remove(): Promise<void> {
    if (await removeHead(this.head, this.store)) goTo(null);
  }
}

function makeRow(name: string, words: string): Row {
  const hint = element('small', {}, name);
  const action = element('div', { class: 'file-action' });
  const root = element('li', { class: 'file', 'data-file': name }, element('div', { class: 'file-words' }, element('span', {}, words), hint), action);
  return { root, hint, action, shown: '' };
}

async function savePicture(stage: ViewerStage, head: Head): Promise<void> {
  try {
    saveAs(await stage.viewer.snapshot(), `${head.name}.png`);
  } catch (error) {
    showError(messageOf(error));
  }
}
