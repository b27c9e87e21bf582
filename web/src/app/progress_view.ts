/** A head in work, or one that came to nothing: its photo, its stages, what is left to wait, and cancelling. */

import { announce } from './announce';
import { photoUrl, type Head, type Stage } from './api';
import { button, element, fill, icon, setText } from './dom';
import { removeHead } from './gallery';
import { goTo, headAddress } from './router';
import { isUnfinished, type HeadStore } from './store';
import { asSentence, duration, percent, stateWords, timeLeft } from './words';

export class ProgressView {
  readonly root: HTMLElement;
  private readonly title = element('h1', { tabindex: -1 });
  private readonly sentence = element('p', { class: 'progress-sentence' });
  private readonly bar = element('progress', { max: 1, class: 'progress-bar', 'aria-label': 'Progress' });
  private readonly stages = element('ol', { class: 'stages', 'aria-label': 'Stages' });
  private readonly others = element('div', { class: 'others' });
  private readonly actions = element('div', { class: 'progress-actions' });
  private shownState = '';
  private announcedStage = '';

  constructor(
    private head: Head,
    private readonly store: HeadStore,
  ) {
    this.root = element(
      'div',
      { class: 'progress-view' },
      element('div', { class: 'progress-photo' }, element('img', { src: photoUrl(head), alt: `Photo of ${head.name}` })),
      element(
        'div',
        { class: 'progress-words' },
        this.title,
        this.sentence,
        this.bar,
        this.stages,
        this.actions,
        this.others,
      ),
    );
  }

  update(head: Head): void {
    this.head = head;
    setText(this.title, head.name);
    setText(this.sentence, sentenceOf(head));
    this.root.dataset['state'] = head.state;
    this.bar.hidden = !isUnfinished(head);
    this.bar.value = head.fraction;
    this.stages.hidden = !isUnfinished(head) || head.stages.length === 0;
    this.showStages(head.stages);
    this.showOthers();
    if (this.shownState !== head.state) this.showActions();
    this.shownState = head.state;
    this.announceStage(head);
  }

  private showStages(stages: Stage[]): void {
    while (this.stages.children.length > stages.length) this.stages.lastElementChild!.remove();
    stages.forEach((stage, index) => {
      const row = this.stages.children[index] ?? this.stages.appendChild(stageRow());
      if (!(row instanceof HTMLElement)) return;
      row.dataset['state'] = stage.state;
      if (stage.state === 'running') row.setAttribute('aria-current', 'step');
      else row.removeAttribute('aria-current');
      setText(row.querySelector('.stage-title')!, asSentence(stage.title).replace(/\.$/, ''));
      setText(row.querySelector('.stage-state')!, STAGE_WORDS[stage.state]);
      const seconds = stage.state === 'done' && stage.seconds !== null ? `${stage.seconds.toFixed(1)} s` : '';
      setText(row.querySelector('.stage-seconds')!, seconds);
    });
  }

  private showActions(): void {
    if (isUnfinished(this.head)) {
      fill(this.actions, button('Cancel', { onclick: () => void this.leave() }, 'close'));
    } else {
      const again = element('a', { href: '#', class: 'button button-primary' }, 'Try another photo');
      fill(this.actions, again, button('Delete', { onclick: () => void this.leave() }, 'trash'));
    }
  }

  private showOthers(): void {
    const others = this.store.unfinished.filter((head) => head.id !== this.head.id);
    this.others.hidden = others.length === 0 || !isUnfinished(this.head);
    if (this.others.hidden) return;
    const links = others.map((head) =>
      element(
        'li',
        {},
        element('a', { href: headAddress(head.id) }, head.name),
        element('span', { class: 'card-state' }, stateWords(head)),
      ),
    );
    const focused = document.activeElement;
    const index = focused ? [...this.others.querySelectorAll('a')].findIndex((link) => link === focused) : -1;
    fill(this.others, element('h2', {}, 'Also in work'), element('ul', {}, ...links));
    if (index >= 0) this.others.querySelectorAll('a')[index]?.focus();
  }

  private async leave(): Promise<void> {
    if (await removeHead(this.head, this.store)) {
      announce(`${this.head.name} was removed.`);
      goTo(null);
    }
  }

  private announceStage(head: Head): void {
    const running = head.stages.find((stage) => stage.state === 'running');
    const key = `${head.state} ${running?.stage}`;
    if (key === this.announcedStage) return;
    this.announcedStage = key;
    announce(running ? `${asSentence(running.title)} ${timeLeft(head)}.` : sentenceOf(head));
  }
}

const STAGE_WORDS: Record<Stage['state'], string> = { waiting: 'to come', running: 'now', done: 'done' };

function stageRow(): HTMLElement {
  return element(
    'li',
    {},
    element('span', { class: 'stage-mark' }, icon('check')),
    element('span', { class: 'stage-title' }),
    element('span', { class: 'stage-state visually-hidden' }),
    element('span', { class: 'stage-seconds' }),
  );
}

function sentenceOf(head: Head): string {
  switch (head.state) {
    case 'queued':
      return `${stateWords(head)}. It begins by itself when the heads before it are done.`;
    case 'running':
      return head.seconds_left === null
        ? 'Just begun.'
        : `${percent(head)} done, about ${duration(head.seconds_left)} left.`;
    case 'failed':
      return asSentence(head.error?.message ?? 'The head could not be made');
    case 'cancelled':
      return 'This head was cancelled.';
    case 'done':
      return 'Done.';
  }
}
