/** The panel of the view: the light, the photo laid over the head, and back to the start. */

import { photoUrl, type Head } from './api';
import { button, element } from './dom';
import { degreeWords, percentWords, slider } from './slider';
import type { ViewerStage } from './stage';

const LIGHT = { azimuth_deg: 35, elevation_deg: 35 };
const PAD_AZIMUTH_DEG = 180;
const PAD_ELEVATION_DEG = 90;

/** Make the panel. */
export function viewPanel(stage: ViewerStage, head: Head): HTMLElement {
  return element('div', { class: 'panel-content' }, lightSection(stage), photoSection(stage, head), viewSection(stage));
}

function lightSection(stage: ViewerStage): HTMLElement {
  const light = { ...LIGHT };
  const dot = element('span', { class: 'light-dot' });
  const pad = element('div', { class: 'light-pad', 'aria-hidden': 'true' }, dot);
  const azimuth = slider('From the side', light.azimuth_deg, { min: -180, max: 180, step: 5 }, {
    words: degreeWords,
    onInput: (value) => turn({ azimuth_deg: value }),
  });
  const elevation = slider('From above', light.elevation_deg, { min: -90, max: 90, step: 5 }, {
    words: degreeWords,
    onInput: (value) => turn({ elevation_deg: value }),
  });
  const turn = (change: Partial<typeof light>): void => {
    Object.assign(light, change);
    azimuth.set(light.azimuth_deg);
    elevation.set(light.elevation_deg);
    dot.style.left = `${50 + (50 * light.azimuth_deg) / PAD_AZIMUTH_DEG}%`;
    dot.style.top = `${50 - (50 * light.elevation_deg) / PAD_ELEVATION_DEG}%`;
    stage.viewer.setLight(light.azimuth_deg, light.elevation_deg);
  };
  const follow = (event: PointerEvent): void => {
    const box = pad.getBoundingClientRect();
    const across = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const down = Math.min(1, Math.max(0, (event.clientY - box.top) / box.height));
    turn({
      azimuth_deg: Math.round((2 * across - 1) * PAD_AZIMUTH_DEG),
      elevation_deg: Math.round((1 - 2 * down) * PAD_ELEVATION_DEG),
    });
  };
  pad.addEventListener('pointerdown', (event) => {
    pad.setPointerCapture(event.pointerId);
    pad.addEventListener('pointermove', follow);
    follow(event);
  });
  pad.addEventListener('lostpointercapture', () => pad.removeEventListener('pointermove', follow));
  stage.onLoaded(() => turn({}));
  turn({});
  return element(
    'section',
    {},
    element('h2', {}, 'Light'),
    element('p', { class: 'hint' }, 'Drag the dot, or use the sliders. Splats keep the light of the photo.'),
    element('div', { class: 'light' }, pad, element('div', { class: 'light-sliders' }, azimuth.root, elevation.root)),
  );
}

function photoSection(stage: ViewerStage, head: Head): HTMLElement | null {
  const camera = head.photo_camera;
  if (!camera) return null;
  let isLaid = false;
  const opacity = slider('Photo', 0, { min: 0, max: 1, step: 0.01 }, {
    words: percentWords,
    onInput: (value) => {
      if (!isLaid) {
        stage.viewer.setPhoto(photoUrl(head), camera);
        stage.viewer.lookFromPhoto();
        isLaid = true;
      }
      stage.viewer.setPhotoOpacity(value);
      if (value === 0) {
        stage.viewer.setPhoto(null);
        isLaid = false;
      }
    },
  });
  return element(
    'section',
    {},
    element('h2', {}, 'Photo over the head'),
    element('p', { class: 'hint' }, 'From where the photo was taken; see how well they match.'),
    opacity.root,
  );
}

function viewSection(stage: ViewerStage): HTMLElement {
  return element(
    'section',
    {},
    element('h2', {}, 'View'),
    element('p', { class: 'hint' }, 'Drag to turn, scroll or pinch to come nearer. On the picture, arrow keys turn, + and − zoom, 0 resets.'),
    element('div', { class: 'row' }, button('Reset the view', { onclick: () => stage.viewer.resetView() }, 'reset')),
  );
}
