// The page of spmr-view, and of the one file that it can write.

import { HeadViewer } from '../head_viewer';
import { fillPanel } from './controls';
import { readShown } from './source';

/** Show the page's files; what goes wrong is said in one line. */
async function start(): Promise<void> {
  const stage = required('head');
  const status = required('status');
  const say = (text: string): void => {
    status.textContent = text;
    status.hidden = text === '';
  };
  say('Reading ...');
  try {
    const shown = await readShown();
    document.title = shown.title;
    const viewer = new HeadViewer(stage);
    Object.assign(window, { viewer });
    if (shown.files.length > 0) await viewer.load(shown.files);
    viewer.setCameras(shown.cameras);
    fillPanel(required('panel'), viewer, shown.cameras);
    if (shown.files.length > 0) await viewer.ready;
    say('');
    document.documentElement.dataset.state = 'shown';
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    document.documentElement.dataset.state = 'failed';
  }
}

function required(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element ${id}`);
  return found;
}

// This module is part of the one script that other pages load, too; they have no such element.
if (document.querySelector('main[data-viewer]')) void start();
