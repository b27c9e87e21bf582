/** Makes elements from tags, attributes and children; text stays text, so that nothing from outside becomes markup. */

export type Child = Node | string | null | undefined | false;
type Attribute = string | number | boolean | null | undefined | ((event: never) => void);

/**
 * Make an element.
 *
 * @param attributes `onclick` and its like take a function; true stands for an attribute without a value, and false,
 *     null and undefined for none.
 */
export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Record<string, Attribute> = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  setAttributes(made, attributes);
  made.append(...children.filter(isNode));
  return made;
}

function setAttributes(target: Element, attributes: Record<string, Attribute>): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') target.addEventListener(name.slice(2), value as (event: Event) => void);
    else if (value === true) target.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) target.setAttribute(name, String(value));
  }
}

function isNode(child: Child): child is Node | string {
  return child !== null && child !== undefined && child !== false;
}

/** Replace what an element holds. */
export function fill(target: Element, ...children: Child[]): void {
  target.replaceChildren(...children.filter(isNode));
}

/** Set text only where it differs, so that live regions and selections are left alone. */
export function setText(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

let ids = 0;

/** Return an id that no other element has, for labels and descriptions. */
export function uniqueId(prefix: string): string {
  ids += 1;
  return `${prefix}-${ids}`;
}

const ICON_PATHS = {
  photo: 'M4 6h16v13H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01',
  camera: 'M4 8h3l2-2.5h6L17 8h3v11H4zM12 16.5a3.3 3.3 0 1 0 0-6.6 3.3 3.3 0 0 0 0 6.6z',
  close: 'M6 6l12 12M18 6L6 18',
  trash: 'M5 7h14M10 7V4.5h4V7M7 7l1 12.5h8L17 7M10.5 11v5M13.5 11v5',
  play: 'M8 5.5v13l10.5-6.5z',
  pause: 'M8 5.5v13M16 5.5v13',
  download: 'M12 4v11M7.5 11l4.5 4.5 4.5-4.5M5 20h14',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  plus: 'M12 5v14M5 12h14',
  compare: 'M12 4v16M4 7h5v10H4M20 7h-5v10h5',
  reset: 'M5 5v5h5M5.6 15a7 7 0 1 0 .4-7L5 10',
} as const;

export type IconName = keyof typeof ICON_PATHS;

/** Make an icon of 24 units drawn in strokes; it says nothing to screen readers, the text beside it does. */
export function icon(name: IconName): SVGSVGElement {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  setAttributes(svg, { viewBox: '0 0 24 24', class: 'icon', 'aria-hidden': 'true', focusable: 'false' });
  const path = document.createElementNS(space, 'path');
  path.setAttribute('d', ICON_PATHS[name]);
  svg.append(path);
  return svg;
}

/** Make a button with a text and perhaps an icon before it. */
export function button(text: string, attributes: Record<string, Attribute> = {}, iconName?: IconName): HTMLButtonElement {
  return element('button', { type: 'button', class: 'button', ...attributes }, iconName ? icon(iconName) : null, text);
}

/** Make a button that shows an icon only; its text is read and shown as a tip. */
export function iconButton(
  iconName: IconName,
  text: string,
  attributes: Record<string, Attribute> = {},
): HTMLButtonElement {
  return element(
    'button',
    { type: 'button', class: 'icon-button', 'aria-label': text, title: text, ...attributes },
    icon(iconName),
  );
}
