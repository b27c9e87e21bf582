/** A labelled slider whose track is filled up to its value. */

import { element, setText, uniqueId } from './dom';

export interface SliderRange {
  min: number;
  max: number;
  step: number;
}

export interface Slider {
  root: HTMLElement;
  input: HTMLInputElement;
  set(value: number): void;
}

/** Make a slider; `onInput` hears what the user does, not what `set` does. */
export function slider(
  label: string,
  value: number,
  { min, max, step }: SliderRange,
  { words = String, onInput }: { words?: (value: number) => string; onInput: (value: number) => void },
): Slider {
  const id = uniqueId('slider');
  const input = element('input', { id, type: 'range', min, max, step });
  const shown = element('output', { for: id });
  const set = (now: number): void => {
    input.value = String(now);
    input.style.setProperty('--filled', `${(100 * (now - min)) / (max - min)}%`);
    input.setAttribute('aria-valuetext', words(now));
    setText(shown, words(now));
  };
  input.addEventListener('input', () => {
    set(input.valueAsNumber);
    onInput(input.valueAsNumber);
  });
  set(value);
  const root = element('div', { class: 'slider' }, element('label', { for: id }, label), shown, input);
  return { root, input, set };
}

export const percentWords = (value: number): string => `${Math.round(100 * value)} %`;
export const degreeWords = (value: number): string => `${Math.round(value)}°`;
