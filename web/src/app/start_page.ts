/** The first page: photos in, options, start; below it all heads. */

import { announce, showError } from './announce';
import { createHead, messageOf, type OptionsSchema, type Server } from './api';
import { hasCamera, takePhoto } from './camera';
import { button, element, fill, icon, setText, uniqueId } from './dom';
import { FacePicker } from './face_picker';
import { Gallery } from './gallery';
import { OptionsForm } from './options_form';
import { PHOTO_ACCEPT, sortFiles } from './photos';
import type { Page } from './router';
import { goTo } from './router';
import type { HeadStore } from './store';

/** Takes photos until they are sent. */
export class StartPage implements Page {
  readonly title = 'spinmeround';
  readonly root: HTMLElement;
  private readonly pickers: FacePicker[] = [];
  private readonly form: OptionsForm;
  private readonly gallery: Gallery;
  private readonly chooser: HTMLInputElement;
  private readonly intake = element('div', { class: 'intake' });
  private readonly tray = element('form', { class: 'tray', hidden: true });
  private readonly photoList = element('ul', { class: 'photos', 'aria-label': 'Chosen photos' });
  private readonly togetherField: HTMLElement;
  private readonly together: HTMLInputElement;
  private readonly nameInput: HTMLInputElement;
  private readonly start = element('button', { type: 'submit', class: 'button button-primary button-large' }, 'Make the head');

  constructor(
    private readonly server: Server,
    options: OptionsSchema,
    private readonly store: HeadStore,
  ) {
    this.form = new OptionsForm(options);
    this.gallery = new Gallery(store);
    this.chooser = element('input', { type: 'file', accept: PHOTO_ACCEPT, multiple: true, hidden: true });
    this.chooser.addEventListener('change', () => {
      this.take([...(this.chooser.files ?? [])]);
      this.chooser.value = '';
    });
    const nameId = uniqueId('name');
    this.nameInput = element('input', { id: nameId, type: 'text', maxlength: 80, autocomplete: 'off' });
    this.together = element('input', { type: 'radio', name: 'together', value: 'one', checked: true });
    this.togetherField = this.makeTogetherField();
    this.fillIntake();
    this.fillTray(nameId);
    this.root = element(
      'div',
      { class: 'start-page' },
      element('div', { class: 'hero' }, this.chooser, this.intake, this.tray),
      this.gallery.root,
    );
  }

  update(): void {
    this.gallery.update();
  }

  dispose(): void {
    for (const picker of this.pickers) picker.dispose();
  }

  /** Take files that were dropped, chosen or made by the camera. */
  take(files: File[]): void {
    const { photos, recordings, refusals } = sortFiles(files, this.server.limits.upload_bytes);
    for (const refusal of refusals) showError(refusal);
    if (recordings.length) showError('A recording needs a head to play on: open a finished head, then drop it there.');
    const room = this.server.limits.photos - this.pickers.length;
    if (photos.length > room) showError(`At most ${this.server.limits.photos} photos at a time; the rest was left out.`);
    for (const photo of photos.slice(0, room)) this.add(photo);
    if (photos.length) announce(`${this.pickers.length} ${this.pickers.length === 1 ? 'photo' : 'photos'} chosen.`);
    this.show();
  }

  private add(photo: File): void {
    const picker: FacePicker = new FacePicker(photo, () => {
      this.pickers.splice(this.pickers.indexOf(picker), 1);
      picker.root.remove();
      picker.dispose();
      this.show();
      (this.pickers.length ? this.start : this.intake.querySelector('button'))?.focus();
    });
    this.pickers.push(picker);
    this.photoList.append(picker.root);
  }

  private show(): void {
    const count = this.pickers.length;
    const wasOpen = !this.tray.hidden;
    this.intake.hidden = count > 0;
    this.tray.hidden = count === 0;
    this.togetherField.hidden = count < 2;
    this.photoList.classList.toggle('photos-many', count > 1);
    setText(this.start, count > 1 && !this.together.checked ? `Make ${count} heads` : 'Make the head');
    if (!wasOpen && count > 0) this.start.focus();
  }

  private fillIntake(): void {
    const choose = button('Choose photos', { class: 'button button-primary button-large', onclick: () => this.chooser.click() }, 'photo');
    const camera = button('Use the camera', { class: 'button button-large', onclick: () => void this.useCamera() }, 'camera');
    fill(
      this.intake,
      element('h1', { tabindex: -1 }, 'One photo in, a 3D head out'),
      element('p', { class: 'lead' }, 'Everything happens on this computer. Your photos are sent nowhere.'),
      element(
        'div',
        { class: 'drop-zone' },
        element('div', { class: 'drop-picture' }, icon('photo')),
        element('p', { class: 'drop-words' }, 'Drop a photo of a face here'),
        element('div', { class: 'drop-actions' }, choose, hasCamera() ? camera : null),
        element('p', { class: 'hint' }, 'Best: from the front, even light, the whole head with its hair in the picture.'),
      ),
    );
  }

  private fillTray(nameId: string): void {
    const more = button('Add photos', { class: 'button button-quiet', onclick: () => this.chooser.click() }, 'plus');
    fill(
      this.tray,
      element('div', { class: 'tray-photos' }, this.photoList, more),
      element(
        'div',
        { class: 'tray-options' },
        element('h1', {}, 'A new head'),
        this.togetherField,
        this.form.root,
        element(
          'div',
          { class: 'field' },
          element('label', { for: nameId }, 'Name, if you like'),
          this.nameInput,
        ),
        this.start,
      ),
    );
    this.tray.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.send();
    });
  }

  private makeTogetherField(): HTMLElement {
    const apart = element('input', { type: 'radio', name: 'together', value: 'each' });
    const group = element(
      'fieldset',
      { class: 'choices', hidden: true },
      element('legend', {}, 'These photos show'),
      element('label', { class: 'choice' }, this.together, element('span', {}, 'One person'), element('small', {}, 'one head from all')),
      element('label', { class: 'choice' }, apart, element('span', {}, 'Different people'), element('small', {}, 'a head for each')),
    );
    group.addEventListener('change', () => this.show());
    return group;
  }

  private async useCamera(): Promise<void> {
    const photo = await takePhoto();
    if (photo) this.take([photo]);
  }

  private async send(): Promise<void> {
    this.start.disabled = true;
    try {
      const isOne = this.together.checked;
      const groups = isOne ? [this.pickers] : this.pickers.map((picker) => [picker]);
      const made = [];
      for (const group of groups) made.push(await this.sendGroup(group));
      for (const head of made) this.store.put(head);
      goTo(made[0]!.id);
    } catch (error) {
      showError(messageOf(error));
    } finally {
      this.start.disabled = false;
    }
  }

  private sendGroup(group: FacePicker[]): ReturnType<typeof createHead> {
    const options = this.form.values;
    const face = Math.max(...group.map((picker) => picker.face));
    if (face > 1) options['face'] = face;
    return createHead(
      group.map((picker) => picker.photo),
      options,
      this.nameInput.value.trim(),
    );
  }
}
