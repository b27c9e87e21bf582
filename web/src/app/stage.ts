/** The stage: the head in its viewer, the choice of how it is drawn, and two ways side by side with a divider. */

import { HeadViewer, type Mode } from '../viewer';
import { announce } from './announce';
import { fileUrl, messageOf, type Head, type HeadFile } from './api';
import { element, fill, icon, setText, uniqueId } from './dom';

const MODE_WORDS: Record<Mode, string> = {
  splats: 'Splats',
  avatar: 'Avatar',
  mesh: 'Mesh',
  wireframe: 'Wireframe',
  normals: 'Normals',
};
const MODE_ORDER: Mode[] = ['splats', 'avatar', 'mesh', 'wireframe', 'normals'];

/** For each part of what can be shown, the formats that hold it, best first. */
const SHOWN_SUFFIXES = [
  ['spz', 'ply', 'splat'],
  ['glb', 'vrm', 'obj', 'stl'],
];

export class ViewerStage {
  readonly root: HTMLElement;
  readonly viewer: HeadViewer;
  private readonly canvas = element('div', { class: 'stage-canvas' });
  private readonly veil = element('div', { class: 'stage-veil', role: 'status' });
  private readonly modeBar = element('div', { class: 'stage-bar' });
  private readonly divider: HTMLElement;
  private readonly loadedListeners = new Set<() => void>();
  private loaded: string[] = [];
  private mode: Mode = 'splats';
  private compared: { left: Mode; right: Mode } | null = null;
  private fraction = 0.5;

  constructor() {
    this.divider = element('div', {
      class: 'divider',
      role: 'slider',
      tabindex: 0,
      'aria-label': 'Divider between the two pictures',
      'aria-valuemin': 0,
      'aria-valuemax': 100,
      hidden: true,
    });
    this.root = element('section', { class: 'stage', 'aria-label': 'The head' }, this.canvas, this.divider, this.veil, this.modeBar);
    this.viewer = new HeadViewer(this.canvas);
    this.viewer.on('error', (detail) => this.fail(detail));
    this.bindDivider();
  }

  /** Load what of a head can be shown; nothing happens where it is shown already. */
  async show(head: Head): Promise<void> {
    const files = shownFiles(head.files, this.loaded);
    const names = files.map((file) => file.name);
    if (names.length > 0 && names.join() === this.loaded.join()) return;
    this.loaded = names;
    this.veilWith(files.length ? 'Loading the head …' : 'This head has no file that can be shown. Make one under Files.');
    if (files.length === 0) return;
    try {
      await this.viewer.load(files.map((file) => ({ name: file.name, data: fileUrl(head, file.name) })));
      await this.viewer.ready;
    } catch (error) {
      this.fail(error);
      return;
    }
    if (names !== this.loaded) return;
    this.veil.hidden = true;
    this.setMode(this.modes.includes(this.mode) ? this.mode : (this.modes[0] ?? 'splats'));
    this.root.dataset['loaded'] = names.join(' ');
    announce(`${head.name} is shown.`);
    for (const listener of this.loadedListeners) listener();
  }

  onLoaded(listener: () => void): void {
    this.loadedListeners.add(listener);
  }

  get modes(): Mode[] {
    return MODE_ORDER.filter((mode) => this.viewer.modes.includes(mode));
  }

  /** Show the avatar, if it is not shown, since only it moves; return whether there is one. */
  showAvatar(): boolean {
    if (!this.modes.includes('avatar')) return false;
    const isShown = this.compared
      ? [this.compared.left, this.compared.right].some((mode) => mode !== 'splats')
      : this.mode !== 'splats';
    if (!isShown) this.setMode('avatar');
    return true;
  }

  setMode(mode: Mode): void {
    this.mode = mode;
    this.compared = null;
    this.viewer.clearCompare();
    this.viewer.setMode(mode);
    this.divider.hidden = true;
    this.root.dataset['mode'] = mode;
    this.showModeBar();
  }

  dispose(): void {
    this.viewer.dispose();
  }

  private fail(detail: unknown): void {
    this.veilWith(`The head cannot be shown: ${messageOf(detail)}`);
  }

  private veilWith(text: string): void {
    this.veil.hidden = false;
    delete this.root.dataset['loaded'];
    setText(this.veil, text);
  }

  private compare(left: Mode, right: Mode): void {
    this.compared = { left, right };
    this.divider.hidden = false;
    this.root.dataset['mode'] = `${left} ${right}`;
    this.moveDivider(this.fraction);
    this.showModeBar();
  }

  private showModeBar(): void {
    if (this.modes.length === 0) return fill(this.modeBar);
    const compare = element(
      'button',
      {
        type: 'button',
        class: 'button compare-button',
        'aria-pressed': String(this.compared !== null),
        'data-key': 'compare',
        onclick: () => this.toggleCompare(),
      },
      icon('compare'),
      element('span', { class: 'compare-word' }, 'Compare'),
    );
    const focused = document.activeElement;
    const hadFocus = focused && this.modeBar.contains(focused) ? focused.getAttribute('data-key') : null;
    const choice = this.compared ? this.comparedChoice(this.compared) : this.modeChoice();
    fill(this.modeBar, choice, this.modes.length > 1 ? compare : null);
    if (hadFocus) this.modeBar.querySelector<HTMLElement>(`[data-key="${hadFocus}"]`)?.focus();
  }

  private toggleCompare(): void {
    if (this.compared) return this.setMode(this.compared.left);
    const right = this.modes.find((mode) => mode !== this.mode) ?? this.mode;
    this.compare(this.mode, right);
  }

  private modeChoice(): HTMLElement {
    const group = element('fieldset', { class: 'segments' }, element('legend', { class: 'visually-hidden' }, 'Shown as'));
    for (const mode of this.modes) {
      const input = element('input', {
        type: 'radio',
        name: 'mode',
        value: mode,
        'data-key': mode,
        checked: mode === this.mode,
        onchange: () => this.setMode(mode),
      });
      group.append(element('label', {}, input, element('span', {}, MODE_WORDS[mode])));
    }
    return group;
  }

  private comparedChoice(compared: { left: Mode; right: Mode }): HTMLElement {
    const side = (which: 'left' | 'right'): Node[] => {
      const id = uniqueId(which);
      const select = element('select', { id, 'data-key': which });
      for (const mode of this.modes) select.append(element('option', { value: mode, selected: mode === compared[which] }, MODE_WORDS[mode]));
      select.addEventListener('change', () => this.compare(
        which === 'left' ? (select.value as Mode) : compared.left,
        which === 'right' ? (select.value as Mode) : compared.right,
      ));
      return [element('label', { for: id, class: 'visually-hidden' }, which === 'left' ? 'On the left' : 'On the right'), select];
    };
    return element('div', { class: 'compared' }, ...side('left'), ...side('right'));
  }

  private moveDivider(fraction: number): void {
    this.fraction = Math.min(1, Math.max(0, fraction));
    this.divider.style.left = `${100 * this.fraction}%`;
    this.divider.setAttribute('aria-valuenow', String(Math.round(100 * this.fraction)));
    if (this.compared) this.viewer.setCompare(this.compared.left, this.compared.right, this.fraction);
  }

  private bindDivider(): void {
    const follow = (event: PointerEvent): void => {
      const box = this.root.getBoundingClientRect();
      this.moveDivider((event.clientX - box.left) / box.width);
    };
    this.divider.addEventListener('pointerdown', (event) => {
      this.divider.setPointerCapture(event.pointerId);
      this.divider.addEventListener('pointermove', follow);
    });
    this.divider.addEventListener('lostpointercapture', () => this.divider.removeEventListener('pointermove', follow));
    this.divider.addEventListener('keydown', (event) => {
      const target = { ArrowLeft: this.fraction - 0.05, ArrowRight: this.fraction + 0.05, Home: 0, End: 1 }[event.key];
      if (target === undefined) return;
      event.preventDefault();
      this.moveDivider(target);
    });
  }
}

/** Choose what to show; what is shown already stays, so that a format made later disturbs nothing. */
function shownFiles(files: HeadFile[], loaded: string[]): HeadFile[] {
  return SHOWN_SUFFIXES.flatMap((suffixes) => {
    const able = suffixes.flatMap((suffix) => files.filter((file) => file.suffix === suffix));
    return able.find((file) => loaded.includes(file.name)) ?? able[0] ?? [];
  });
}
