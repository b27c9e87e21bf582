/** The page of one head: its progress while it is made, then the head itself with its panels. */

import { showError } from './announce';
import type { Head, Server } from './api';
import { AnimatePanel } from './animate_panel';
import { element, fill } from './dom';
import { Face } from './face';
import { facePanel } from './face_panel';
import { FilesPanel } from './files_panel';
import { sortFiles } from './photos';
import { ProgressView } from './progress_view';
import type { Page } from './router';
import { ViewerStage } from './stage';
import type { HeadStore } from './store';
import { tabs, type Tabs } from './tabs';
import { viewPanel } from './view_panel';
import { asSentence, percent, VERDICTS } from './words';

const ANIMATE = 'Animate';

export class HeadPage implements Page {
  readonly root = element('div', { class: 'head-page' });
  private progress: ProgressView | null = null;
  private finished: FinishedHead | FilesOnly | null = null;

  constructor(
    private readonly id: string,
    private readonly server: Server,
    private readonly store: HeadStore,
    private readonly onPhotos: (photos: File[]) => void,
  ) {}

  get title(): string {
    const head = this.store.get(this.id);
    if (!head) return 'spinmeround';
    return `${head.state === 'running' ? `${percent(head)} · ` : ''}${head.name} – spinmeround`;
  }

  update(): void {
    const head = this.store.get(this.id);
    if (!head) this.showMissing();
    else if (head.state === 'done') this.showFinished(head);
    else this.showProgress(head);
  }

  take(files: File[]): void {
    const { photos, recordings, refusals } = sortFiles(files, this.server.limits.upload_bytes);
    for (const refusal of refusals) showError(refusal);
    if (photos.length) this.onPhotos(photos);
    const recording = recordings[0];
    if (!recording) return;
    if (this.finished instanceof FinishedHead) this.finished.play(recording);
    else showError('A recording needs a head to play on: wait until this one is shown.');
  }

  dispose(): void {
    this.finished?.dispose();
  }

  private showMissing(): void {
    if (!this.store.isLoaded) return;
    this.finished?.dispose();
    this.finished = this.progress = null;
    fill(
      this.root,
      element(
        'div',
        { class: 'missing' },
        element('h1', { tabindex: -1 }, 'This head is not here'),
        element('p', {}, 'It was deleted, or made on another computer.'),
        element('a', { href: '#', class: 'button button-primary' }, 'All heads'),
      ),
    );
  }

  private showProgress(head: Head): void {
    if (!this.progress) {
      this.progress = new ProgressView(head, this.store);
      fill(this.root, this.progress.root);
    }
    this.progress.update(head);
  }

  private showFinished(head: Head): void {
    if (!this.finished) {
      const wasWatched = this.progress !== null;
      this.progress = null;
      this.finished = finishedHead(head, this.server, this.store);
      fill(this.root, this.finished.root);
      if (wasWatched) this.finished.root.querySelector('h1')?.focus();
    }
    this.finished.update(head);
  }
}

function finishedHead(head: Head, server: Server, store: HeadStore): FinishedHead | FilesOnly {
  try {
    return new FinishedHead(head, server, store);
  } catch {
    return new FilesOnly(head, server, store);
  }
}

/** Where the browser has no WebGL: the files can still be had. */
class FilesOnly {
  readonly root: HTMLElement;
  private readonly files: FilesPanel;

  constructor(head: Head, server: Server, store: HeadStore) {
    this.files = new FilesPanel(head, server, store, null);
    const why = 'This browser draws no 3D pictures here: switch on hardware acceleration in its settings, or save the files.';
    this.root = element('div', { class: 'files-only' }, headWords(head), element('p', { role: 'alert' }, why), this.files.root);
  }

  update(head: Head): void {
    this.files.update(head);
  }

  dispose(): void {}
}

class FinishedHead {
  readonly root: HTMLElement;
  private readonly animate: AnimatePanel;
  private readonly tabs: Tabs;
  private readonly stage = new ViewerStage();
  private readonly files: FilesPanel;

  constructor(head: Head, server: Server, store: HeadStore) {
    const face = new Face(this.stage, server.expressions);
    this.animate = new AnimatePanel(face, () => this.stage.modes.includes('avatar'));
    this.files = new FilesPanel(head, server, store, this.stage);
    this.tabs = tabs('Controls', [
      { title: 'Face', content: facePanel(face, this.stage, server.presets) },
      { title: ANIMATE, content: this.animate.root },
      { title: 'View', content: viewPanel(this.stage, head) },
      { title: 'Files', content: this.files.root },
    ]);
    const panel = element('aside', { class: 'panel', 'aria-label': 'Controls' }, headWords(head), this.tabs.root);
    this.root = element('div', { class: 'finished' }, this.stage.root, panel);
  }

  update(head: Head): void {
    this.files.update(head);
    void this.stage.show(head);
  }

  /** Play a recording, with its controls in sight. */
  play(recording: File): void {
    this.tabs.open(ANIMATE);
    void this.animate.take(recording);
  }

  dispose(): void {
    this.animate.dispose();
    this.stage.dispose();
  }
}

function headWords(head: Head): HTMLElement {
  const { quality } = head;
  const words = element('header', { class: 'head-words' }, element('h1', { tabindex: -1 }, head.name));
  if (!quality) return words;
  const reasons = quality.reasons.map((reason) => element('li', {}, asSentence(reason)));
  words.append(
    element('p', { class: 'verdict', 'data-verdict': quality.verdict }, VERDICTS[quality.verdict]),
    reasons.length ? element('ul', { class: 'reasons' }, ...reasons) : '',
  );
  return words;
}
