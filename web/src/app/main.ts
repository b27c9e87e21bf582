/** Begins the page: reads what the server can do, then shows the page that the address names and keeps it current. */

import './styles/base.css';
import './styles/controls.css';
import './styles/start.css';
import './styles/head.css';
import { getOptions, getServer, messageOf } from './api';
import { bindDrop } from './drop';
import { element, fill, setText } from './dom';
import { HeadPage } from './head_page';
import { currentHead, goTo, headAddress, type Page } from './router';
import { StartPage } from './start_page';
import { HeadStore } from './store';
import { percent } from './words';

const main = document.querySelector<HTMLElement>('#main')!;
const work = document.querySelector<HTMLAnchorElement>('#work')!;
const offline = document.querySelector<HTMLElement>('#offline')!;

async function begin(): Promise<void> {
  let page: Page | null = null;
  let photosForStart: File[] = [];
  bindDrop((files) => page?.take(files)); // first of all: unbound, a drop would leave the page
  const [server, options] = await Promise.all([getServer(), getOptions()]);
  const store = new HeadStore();

  const update = (): void => {
    page?.update();
    document.title = page?.title ?? 'spinmeround';
    offline.hidden = store.isOnline;
    showWork(store);
  };
  const route = (isFirst: boolean): void => {
    page?.dispose();
    const head = currentHead();
    page = head ? new HeadPage(head, server, store, startWith) : new StartPage(server, options, store);
    document.body.dataset['page'] = head ? 'head' : 'start';
    fill(main, page.root);
    update();
    window.scrollTo(0, 0);
    if (!isFirst) main.querySelector<HTMLElement>('h1')?.focus();
    if (!head && photosForStart.length > 0) page.take(photosForStart.splice(0));
  };
  const startWith = (photos: File[]): void => {
    photosForStart = photos;
    goTo(null);
  };

  store.subscribe(update);
  window.addEventListener('hashchange', () => route(false));
  document.querySelector('#skip')?.addEventListener('click', (event) => {
    event.preventDefault(); // the hash names the head, so that it cannot name a place on the page, too
    main.focus();
  });
  await store.refresh();
  route(true);
  store.connect();
}

/** Show in the header what is in work, with a link to it. */
function showWork(store: HeadStore): void {
  const [first] = store.unfinished;
  work.hidden = !first || first.id === currentHead();
  if (!first) return;
  work.href = store.unfinished.length > 1 ? '#' : headAddress(first.id);
  const count = store.unfinished.length;
  setText(work, count > 1 ? `${count} in work` : `In work · ${percent(first)}`);
}

begin().catch((error: unknown) => {
  fill(
    main,
    element('div', { class: 'missing' }, element('h1', {}, 'Nothing answers'), element('p', { role: 'alert' }, messageOf(error))),
  );
});
