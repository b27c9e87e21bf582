// The panel beside the head: modes, comparison, light, expressions, clips, cameras.

import type { HeadViewer } from '../head_viewer';
import type { Mode } from '../types';
import { button, element, slider } from './dom';
import type { NamedCamera } from './source';

const TITLES: Record<Mode, string> = {
  splats: 'Splats',
  mesh: 'Mesh',
  avatar: 'Avatar',
  wireframe: 'Wireframe',
  normals: 'Normals',
};

/** Fill the panel with what the loaded files can do. */
export function fillPanel(panel: HTMLElement, viewer: HeadViewer, cameras: NamedCamera[]): void {
  const parts = [modes(viewer), light(viewer), clips(viewer), expressions(viewer), cameraChoice(viewer, cameras), actions(viewer)];
  panel.replaceChildren(...parts.filter((part) => part !== null));
}

function modes(viewer: HeadViewer): HTMLElement | null {
  if (viewer.modes.length === 0) return null;
  const group = element('fieldset', { class: 'modes' }, element('legend', {}, 'Show'));
  const compare = element('select', { 'aria-label': 'Beside it' }, element('option', { value: '' }, 'nothing beside it'));
  const divider = element('input', { type: 'range', min: 0, max: 1, step: 0.005, value: 0.5, 'aria-label': 'Divider', hidden: true });
  let left = viewer.modes[0] as Mode;
  const apply = (): void => {
    divider.hidden = compare.value === '';
    if (compare.value) viewer.setCompare(left, compare.value as Mode, divider.valueAsNumber);
    else {
      viewer.clearCompare();
      viewer.setMode(left);
    }
  };
  for (const mode of viewer.modes) {
    const radio = element('input', { type: 'radio', name: 'mode', value: mode, checked: mode === left });
    radio.addEventListener('change', () => {
      left = mode;
      apply();
    });
    group.append(element('label', {}, radio, element('span', {}, TITLES[mode])));
    compare.append(element('option', { value: mode }, `beside ${TITLES[mode].toLowerCase()}`));
  }
  compare.addEventListener('change', apply);
  divider.addEventListener('input', apply);
  if (viewer.modes.length > 1) group.append(compare, divider);
  return group;
}

function light(viewer: HeadViewer): HTMLElement | null {
  if (!viewer.modes.some((mode) => mode !== 'splats')) return null;
  const at = { azimuth: 35, elevation: 35 };
  const off = element('input', { type: 'checkbox' });
  off.addEventListener('change', () => viewer.setLit(!off.checked));
  const turn = (): void => viewer.setLight(at.azimuth, at.elevation);
  return element(
    'fieldset',
    {},
    element('legend', {}, 'Light'),
    slider('around', { min: -180, max: 180, step: 1, value: at.azimuth }, (value) => ((at.azimuth = value), turn())),
    slider('height', { min: -80, max: 80, step: 1, value: at.elevation }, (value) => ((at.elevation = value), turn())),
    element('label', {}, off, ' colours without light'),
  );
}

function clips(viewer: HeadViewer): HTMLElement | null {
  if (viewer.clips.length === 0) return null;
  const choice = element('select', { 'aria-label': 'Clip' }, element('option', { value: '' }, 'at rest'));
  for (const name of viewer.clips) choice.append(element('option', { value: name }, name));
  choice.addEventListener('change', () => viewer.playClip(choice.value || null));
  return element('fieldset', {}, element('legend', {}, 'Clip'), choice);
}

function expressions(viewer: HeadViewer): HTMLElement | null {
  const names = viewer.expressionNames;
  if (names.length === 0) return null;
  const weights: Record<string, number> = {};
  const list = element('div', { class: 'expressions' });
  const sliders = names.map((name) =>
    slider(name, { min: 0, max: 1, step: 0.01, value: 0 }, (value) => {
      weights[name] = value;
      viewer.setExpression(weights);
    }),
  );
  list.append(...sliders);
  const search = element('input', { type: 'search', placeholder: 'Search', 'aria-label': 'Search expressions' });
  search.addEventListener('input', () => {
    const wanted = search.value.toLowerCase();
    sliders.forEach((each, index) => (each.hidden = !(names[index] ?? '').toLowerCase().includes(wanted)));
  });
  const rest = button('At rest', () => {
    for (const name of names) weights[name] = 0;
    for (const each of sliders) (each.querySelector('input') as HTMLInputElement).value = '0';
    viewer.setExpression(weights);
  });
  return element('details', {}, element('summary', {}, 'Expressions'), element('div', { class: 'row' }, search, rest), list);
}

function cameraChoice(viewer: HeadViewer, cameras: NamedCamera[]): HTMLElement | null {
  if (cameras.length === 0) return null;
  const choice = element('select', { 'aria-label': 'Camera' }, element('option', { value: '' }, 'from outside'));
  cameras.forEach((camera, index) => choice.append(element('option', { value: index }, camera.name)));
  const opacity = slider('picture', { min: 0, max: 1, step: 0.01, value: 0.5 }, (value) => viewer.setPhotoOpacity(value));
  opacity.hidden = true;
  choice.addEventListener('change', () => {
    const camera = cameras[Number(choice.value)];
    opacity.hidden = choice.value === '' || !camera?.picture;
    if (choice.value === '' || !camera) {
      viewer.setPhoto(null);
      viewer.resetView();
      return;
    }
    viewer.setPhoto(camera.picture, camera);
    viewer.lookFromPhoto();
  });
  return element('fieldset', {}, element('legend', {}, 'Look through a camera'), choice, opacity);
}

function actions(viewer: HeadViewer): HTMLElement {
  const save = async (): Promise<void> => {
    const url = URL.createObjectURL(await viewer.snapshot());
    element('a', { href: url, download: `${document.title.replace(/\.\w+$/, '')}.png` }).click();
    URL.revokeObjectURL(url);
  };
  return element(
    'div',
    { class: 'row' },
    button('Reset view', () => viewer.resetView()),
    button('Turn over', () => viewer.turnOver()),
    button('Save picture', () => void save()),
  );
}
