/** All heads as cards: those in work first, in the order of the queue. */

import { showError } from './announce';
import { deleteHead, messageOf, photoUrl, type Head } from './api';
import { confirmAction } from './dialog';
import { element, iconButton, setText } from './dom';
import { headAddress } from './router';
import { isUnfinished, type HeadStore } from './store';
import { dateWords, stateWords } from './words';

/** Cards that stay the same elements while heads change, so that focus and scrolling stay, too. */
export class Gallery {
  readonly root = element('div', { class: 'gallery' });
  private readonly cards = new Map<string, Card>();
  private readonly queue = section('In work', 'queue');
  private readonly finished = section('Your heads', 'finished');

  constructor(private readonly store: HeadStore) {
    this.root.append(this.queue.root, this.finished.root);
  }

  update(): void {
    const heads = this.store.all;
    const ids = new Set(heads.map((head) => head.id));
    for (const [id, card] of this.cards) {
      if (ids.has(id)) continue;
      card.root.remove();
      this.cards.delete(id);
    }
    this.place(this.queue, this.store.unfinished);
    this.place(this.finished, heads.filter((head) => !isUnfinished(head)));
  }

  private place({ root, list }: Section, heads: Head[]): void {
    root.hidden = heads.length === 0;
    heads.forEach((head, index) => {
      const card = this.cardOf(head);
      card.update(head);
      if (list.children[index] !== card.root) list.insertBefore(card.root, list.children[index] ?? null);
    });
  }

  private cardOf(head: Head): Card {
    let card = this.cards.get(head.id);
    if (!card) this.cards.set(head.id, (card = new Card(head, this.store)));
    return card;
  }
}

interface Section {
  root: HTMLElement;
  list: HTMLElement;
}

function section(title: string, name: string): Section {
  const list = element('ul', { class: 'cards' });
  const root = element('section', { class: `heads heads-${name}`, hidden: true }, element('h2', {}, title), list);
  return { root, list };
}

class Card {
  readonly root: HTMLElement;
  private readonly name = element('span', { class: 'card-name' });
  private readonly state = element('span', { class: 'card-state' });
  private readonly bar = element('progress', { max: 1, 'aria-hidden': 'true' });
  private readonly remove: HTMLButtonElement;

  constructor(
    private head: Head,
    private readonly store: HeadStore,
  ) {
    this.remove = iconButton('trash', `Delete ${head.name}`, {
      class: 'icon-button card-remove',
      onclick: () => void removeHead(this.head, this.store),
    });
    this.root = element(
      'li',
      { class: 'card', 'data-id': head.id },
      element(
        'a',
        { href: headAddress(head.id), title: `Begun ${dateWords(head.created)}` },
        element('img', { src: photoUrl(head), alt: '', loading: 'lazy' }),
        element('span', { class: 'card-words' }, this.name, this.state),
        this.bar,
      ),
      this.remove,
    );
  }

  update(head: Head): void {
    this.head = head;
    setText(this.name, head.name);
    setText(this.state, stateWords(head));
    this.root.dataset['state'] = head.state;
    this.root.dataset['verdict'] = head.quality?.verdict ?? '';
    this.bar.hidden = !isUnfinished(head);
    this.bar.value = head.fraction;
  }
}

/** Delete a head after asking; return whether it is gone. */
export async function removeHead(head: Head, store: HeadStore): Promise<boolean> {
  const isAgreed = await confirmAction(
    isUnfinished(head)
      ? {
          question: `Stop making ${head.name}?`,
          consequence: 'The photo and all that was made so far are removed.',
          yes: 'Stop and remove',
          no: 'Go on',
        }
      : {
          question: `Delete ${head.name}?`,
          consequence: 'The photo and all files of this head are removed. This cannot be undone.',
          yes: 'Delete',
          no: 'Keep it',
        },
  );
  if (!isAgreed) return false;
  try {
    await deleteHead(head.id);
    store.remove(head.id);
    return true;
  } catch (error) {
    showError(messageOf(error));
    return false;
  }
}
