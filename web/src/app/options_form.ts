/** The form of a new head's options: four in plain words, the rest as the server describes them. */

import type { OptionSchema, OptionsSchema } from './api';
import { element, uniqueId } from './dom';

/** Options that have a place of their own on the page. */
const PLACED = new Set(['quality', 'neutral', 'glasses', 'avatar_hair', 'face']);

interface Choice {
  value: string;
  title: string;
  hint: string;
}

const QUALITIES: Choice[] = [
  { value: 'draft', title: 'Quick', hint: 'about 15 seconds' },
  { value: 'standard', title: 'Standard', hint: 'about 30 seconds' },
  { value: 'high', title: 'Finest', hint: 'some minutes' },
];
const EXPRESSIONS: Choice[] = [
  { value: 'false', title: 'As in the photo', hint: '' },
  { value: 'true', title: 'At rest', hint: '' },
];
const GLASSES: Choice[] = [
  { value: 'keep', title: 'Keep', hint: '' },
  { value: 'remove', title: 'Remove', hint: '' },
];
const HAIR: Choice[] = [
  { value: 'cards', title: 'Strips', hint: 'looks like strands' },
  { value: 'shell', title: 'Closed surface', hint: 'for printing and sculpting' },
];

type Reader = () => unknown;

/** The options as a form; `values` has those that differ from the defaults. */
export class OptionsForm {
  readonly root = element('div', { class: 'options' });
  private readonly readers = new Map<string, Reader>();

  constructor(private readonly schema: OptionsSchema) {
    const rest = Object.entries(schema.properties).filter(([name]) => !PLACED.has(name));
    this.root.append(
      this.choices('quality', 'Quality', QUALITIES),
      this.choices('neutral', 'Expression', EXPRESSIONS, (text) => text === 'true'),
      this.choices('glasses', 'Glasses', GLASSES),
      this.choices('avatar_hair', 'Hair of the avatar', HAIR),
    );
    if (rest.length === 0) return;
    const more = element('details', { class: 'more' }, element('summary', {}, 'More options'));
    more.append(...rest.map(([name, option]) => this.field(name, this.resolve(option))));
    this.root.append(more);
  }

  get values(): Record<string, unknown> {
    const values: Record<string, unknown> = {};
    for (const [name, read] of this.readers) {
      const value = read();
      const standard = this.schema.properties[name]?.default;
      if (value !== undefined && JSON.stringify(value) !== JSON.stringify(standard)) values[name] = value;
    }
    return values;
  }

  /** Follow references, and take of alternatives the one that is not null. */
  private resolve(option: OptionSchema): OptionSchema {
    const target = option.$ref ? this.schema.$defs?.[option.$ref.split('/').at(-1) ?? ''] : undefined;
    const other = option.anyOf?.find((each) => each.type !== 'null');
    const inner = target ?? other;
    return inner ? { ...this.resolve(inner), ...option } : option;
  }

  private choices(name: string, title: string, choices: Choice[], parse: (text: string) => unknown = String): Node {
    const option = this.schema.properties[name];
    if (!option) return document.createComment(name);
    const group = element('fieldset', { class: 'choices' }, element('legend', {}, title));
    const inputs = choices.map(({ value, title: text, hint }) => {
      const input = element('input', { type: 'radio', name, value, checked: String(option.default) === value });
      group.append(
        element('label', { class: 'choice' }, input, element('span', {}, text), hint ? element('small', {}, hint) : null),
      );
      return input;
    });
    this.readers.set(name, () => {
      const checked = inputs.find((input) => input.checked);
      return checked ? parse(checked.value) : undefined;
    });
    return group;
  }

  private field(name: string, option: OptionSchema): Node {
    const id = uniqueId(`option-${name}`);
    const hintId = `${id}-hint`;
    const hint = option.description ? element('small', { id: hintId }, option.description) : null;
    const common = { id, 'aria-describedby': hint ? hintId : null };
    const title = option.title ?? name.replaceAll('_', ' ');
    const items = option.items ? this.resolve(option.items) : undefined;
    if (items?.enum) return this.checkboxes(name, title, items.enum.map(String), option, hint);
    if (option.type === 'boolean') {
      const input = element('input', { type: 'checkbox', checked: option.default === true, ...common });
      this.readers.set(name, () => input.checked);
      return element('div', { class: 'field field-check' }, input, element('label', { for: id }, title), hint);
    }
    const input = option.enum ? this.select(name, option, common) : this.input(name, option, common);
    return element('div', { class: 'field' }, element('label', { for: id }, title), input, hint);
  }

  private select(name: string, option: OptionSchema, common: Record<string, string | null>): HTMLSelectElement {
    const values = option.enum ?? [];
    const select = element('select', common);
    values.forEach((value, index) => {
      select.append(element('option', { value: index, selected: value === option.default }, String(value ?? 'automatic')));
    });
    this.readers.set(name, () => values[Number(select.value)]);
    return select;
  }

  private input(name: string, option: OptionSchema, common: Record<string, string | null>): HTMLInputElement {
    const isNumber = option.type === 'integer' || option.type === 'number';
    const input = element('input', {
      ...common,
      type: isNumber ? 'number' : 'text',
      step: option.type === 'integer' ? 1 : 'any',
      min: option.minimum,
      max: option.maximum,
      value: isNumber || typeof option.default === 'string' ? (option.default as string | number | null) : null,
      placeholder: option.default === null || option.default === undefined ? 'automatic' : null,
    });
    this.readers.set(name, () => {
      if (input.value === '') return undefined;
      return isNumber ? Number(input.value) : input.value;
    });
    return input;
  }

  private checkboxes(name: string, title: string, values: string[], option: OptionSchema, hint: Node | null): Node {
    const standard = Array.isArray(option.default) ? option.default.map(String) : [];
    const group = element('fieldset', { class: 'field checks' }, element('legend', {}, title));
    const inputs = values.map((value) => {
      const input = element('input', { type: 'checkbox', value, checked: standard.includes(value) });
      group.append(element('label', {}, input, value));
      return input;
    });
    if (hint) group.append(hint);
    this.readers.set(name, () => {
      const chosen = inputs.filter((input) => input.checked).map((input) => input.value);
      const isStandard = chosen.length === standard.length && chosen.every((value) => standard.includes(value));
      return isStandard ? option.default : chosen;
    });
    return group;
  }
}
