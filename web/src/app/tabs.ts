/** Tabs: arrow keys move between them, and each panel is labelled by its tab. */

import { element, uniqueId } from './dom';

export interface Tab {
  title: string;
  content: HTMLElement;
}

export interface Tabs {
  root: HTMLElement;
  open(title: string): void;
}

/** Make tabs, the first of which is open. */
export function tabs(label: string, each: Tab[]): Tabs {
  const list = element('div', { class: 'tab-list', role: 'tablist', 'aria-label': label });
  const panels = element('div', { class: 'tab-panels' });
  const pairs = each.map(({ title, content }) => {
    const tabId = uniqueId('tab');
    const panelId = uniqueId('panel');
    const tab = element('button', { type: 'button', role: 'tab', id: tabId, 'aria-controls': panelId }, title);
    const panel = element('div', { role: 'tabpanel', id: panelId, 'aria-labelledby': tabId, class: 'tab-panel' }, content);
    list.append(tab);
    panels.append(panel);
    return { tab, panel };
  });
  const open = (index: number): void =>
    pairs.forEach(({ tab, panel }, at) => {
      tab.setAttribute('aria-selected', String(at === index));
      tab.tabIndex = at === index ? 0 : -1;
      panel.hidden = at !== index;
    });
  pairs.forEach(({ tab }, index) => {
    tab.addEventListener('click', () => open(index));
    tab.addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const next = (index + step + pairs.length) % pairs.length;
      open(next);
      pairs[next]!.tab.focus();
    });
  });
  open(0);
  return {
    root: element('div', { class: 'tabs' }, list, panels),
    open: (title) => open(each.findIndex((tab) => tab.title === title)),
  };
}
