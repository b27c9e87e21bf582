/** The panel of the face: presets as buttons, and a slider for each of the 52 expressions. */

import { showError } from './announce';
import { button, element, fill, setText, uniqueId } from './dom';
import { expressionWords, groupExpressions, presetWords } from './expression_groups';
import type { Face } from './face';
import { percentWords, slider, type Slider } from './slider';
import type { ViewerStage } from './stage';

const NO_AVATAR = 'Only an avatar moves, and this head has none yet. Make head.glb under Files.';
const LEAST_CHANGE = 0.004;

/** Make the panel. */
export function facePanel(face: Face, stage: ViewerStage, presets: Record<string, Record<string, number>>): HTMLElement {
  return element('div', { class: 'panel-content' }, presetSection(face, stage, presets), sliderSection(face));
}

function presetSection(
  face: Face,
  stage: ViewerStage,
  presets: Record<string, Record<string, number>>,
): HTMLElement {
  const chips = element('div', { class: 'chips' });
  const refuse = (isShown: boolean): void => {
    if (!isShown) showError(NO_AVATAR);
  };
  const show = (): void => {
    const poses = face.poses.map((name) =>
      button(name === 'photo' ? 'As in the photo' : expressionWords(name), {
        class: 'button chip',
        onclick: () => face.playPose(name),
      }),
    );
    const named = Object.entries(presets)
      .filter(([name]) => name !== 'neutral')
      .map(([name, weights]) => button(presetWords(name), { class: 'button chip', onclick: () => refuse(face.pick(weights)) }));
    fill(chips, ...poses, ...named);
  };
  show();
  stage.onLoaded(show);
  const reset = button('Reset', { class: 'button button-quiet', onclick: () => refuse(face.pick({})) }, 'reset');
  return element('section', {}, element('div', { class: 'section-head' }, element('h2', {}, 'Expressions'), reset), chips);
}

function sliderSection(face: Face): HTMLElement {
  const shown = new Map<string, { control: Slider; value: number }>();
  const groups = groupExpressions(face.names).map(({ title, names }) => {
    const rows = names.map((name) => {
      const control = slider(expressionWords(name), 0, { min: 0, max: 1, step: 0.01 }, {
        words: percentWords,
        onInput: (value) => {
          if (!face.nudge(name, value)) {
            control.set(0);
            showError(NO_AVATAR);
          }
        },
      });
      control.input.dataset['expression'] = name;
      shown.set(name, { control, value: 0 });
      return { name, root: control.root };
    });
    const group = element('details', { class: 'group', open: title === 'Jaw' || title === 'Eyes' }, element('summary', {}, title));
    group.append(...rows.map((row) => row.root));
    return { title, group, rows };
  });
  face.subscribe((weights) => {
    for (const [name, row] of shown) {
      const value = weights[name] ?? 0;
      if (Math.abs(value - row.value) < LEAST_CHANGE && (value !== 0 || row.value === 0)) continue;
      row.value = value;
      row.control.set(value);
    }
  });
  const { field, count } = searchField((wanted) => {
    let found = 0;
    for (const { title, group, rows } of groups) {
      const hits = rows.filter(({ name, root }) => {
        const text = `${title} ${name} ${expressionWords(name)}`.toLowerCase();
        root.hidden = !wanted.every((word) => text.includes(word));
        return !root.hidden;
      });
      group.hidden = hits.length === 0;
      if (wanted.length > 0 && hits.length > 0) group.open = true;
      found += hits.length;
    }
    setText(count, wanted.length === 0 ? '' : found === 0 ? 'None is called that.' : `${found} found`);
  });
  return element('section', {}, element('h2', {}, 'All movements'), field, count, ...groups.map(({ group }) => group));
}

function searchField(onSearch: (words: string[]) => void): { field: HTMLElement; count: HTMLElement } {
  const id = uniqueId('search');
  const input = element('input', { id, type: 'search', placeholder: 'Search: blink, smile, jaw …', autocomplete: 'off' });
  input.addEventListener('input', () => onSearch(input.value.toLowerCase().split(/\s+/).filter(Boolean)));
  const field = element('div', { class: 'search' }, element('label', { for: id, class: 'visually-hidden' }, 'Search the movements'), input);
  return { field, count: element('p', { class: 'hint search-count', role: 'status' }) };
}
