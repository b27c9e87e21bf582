/** A chosen photo with a box around each face, to choose whose head is made. */

import { findFaces, messageOf, type FoundFaces } from './api';
import { element, iconButton, setText } from './dom';

/** One photo of the tray. */
export class FacePicker {
  readonly root: HTMLElement;
  /** Which face was chosen, 1 the largest. */
  face = 1;
  private readonly url: string;
  private readonly frame: HTMLElement;
  private readonly note = element('p', { class: 'photo-note', role: 'status' }, 'Looking for faces …');

  constructor(
    readonly photo: File,
    onRemove: () => void,
  ) {
    this.url = URL.createObjectURL(photo);
    const image = element('img', { src: this.url, alt: `Chosen photo ${photo.name}` });
    image.addEventListener('error', () => image.replaceWith(element('p', { class: 'photo-blank' }, photo.name)));
    this.frame = element('div', { class: 'photo-frame' }, image);
    this.root = element(
      'li',
      { class: 'photo' },
      element('div', { class: 'photo-stage' }, this.frame),
      iconButton('close', `Remove ${photo.name}`, { class: 'icon-button photo-remove', onclick: onRemove }),
      this.note,
    );
    void this.search();
  }

  dispose(): void {
    URL.revokeObjectURL(this.url);
  }

  private async search(): Promise<void> {
    try {
      this.show(await findFaces(this.photo));
    } catch (error) {
      this.root.classList.add('photo-bad');
      setText(this.note, messageOf(error));
    }
  }

  private show(found: FoundFaces): void {
    const count = found.faces.length;
    if (count === 0) {
      this.root.classList.add('photo-bad');
      setText(this.note, 'No face was found here; take a photo that shows a face from the front.');
      return;
    }
    setText(this.note, count === 1 ? '' : `${count} faces. Choose whose head to make.`);
    if (count === 1) return;
    const boxes = found.faces.map(({ face, box_px }) => this.box(found, face, box_px));
    const group = element('div', { class: 'face-boxes', role: 'group', 'aria-label': `Faces in ${this.photo.name}` });
    group.append(...boxes);
    this.frame.append(group);
    this.choose(1);
  }

  private box(found: FoundFaces, face: number, [x, y, width, height]: [number, number, number, number]): HTMLElement {
    const box = element('button', {
      type: 'button',
      class: 'face-box',
      'data-face': face,
      'aria-label': `Face ${face} of ${found.faces.length}, ${face === 1 ? 'the largest' : sideWords((x + width / 2) / found.width)}`,
      onclick: () => this.choose(face),
    });
    box.style.left = `${(100 * x) / found.width}%`;
    box.style.top = `${(100 * y) / found.height}%`;
    box.style.width = `${(100 * width) / found.width}%`;
    box.style.height = `${(100 * height) / found.height}%`;
    return box;
  }

  private choose(face: number): void {
    this.face = face;
    for (const box of this.frame.querySelectorAll<HTMLElement>('.face-box')) {
      box.setAttribute('aria-pressed', String(Number(box.dataset['face']) === face));
    }
  }
}

function sideWords(fraction: number): string {
  if (fraction < 0.4) return 'on the left';
  return fraction > 0.6 ? 'on the right' : 'in the middle';
}
