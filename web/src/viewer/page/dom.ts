// Small helpers that make elements.

type Attributes = Record<string, string | number | boolean>;

/** Make an element with attributes and children. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, '');
    else if (value !== false) made.setAttribute(name, String(value));
  }
  made.append(...children);
  return made;
}

/** Make a labelled slider. */
export function slider(label: string, range: { min: number; max: number; step: number; value: number }, moved: (value: number) => void): HTMLElement {
  const input = element('input', { type: 'range', ...range });
  input.addEventListener('input', () => moved(input.valueAsNumber));
  return element('label', { class: 'slider' }, element('span', {}, label), input);
}

/** Make a button. */
export function button(label: string, pressed: () => void): HTMLButtonElement {
  const made = element('button', { type: 'button' }, label);
  made.addEventListener('click', pressed);
  return made;
}
