// What people do on the page, each a function that says what it found; the tests judge that.

import { readFileSync } from 'node:fs';

let axePath;

export function setAxe(path) {
  axePath = path;
}

const messages = (page) => page.locator('.message p').allTextContents();
const makeButton = (page) => page.getByRole('button', { name: /^Make (the head|\d+ heads)$/ });
const loaded = (page) => page.locator('.stage[data-loaded]').waitFor();
const tab = (page, name) => page.getByRole('tab', { name }).click();
const headOf = (page) => new URL(page.url()).hash.slice('#head='.length);

async function start(page, url, photos, quality) {
  await page.goto(url);
  await page.locator('input[type=file]').setInputFiles(photos);
  await page.getByRole('radio', { name: new RegExp(`^${quality}`) }).check({ force: true });
}

/** Open a head, or go on with it where it is open, at rest and as splats. */
async function open(page, url, head) {
  await page.goto(`${url}#head=${head}`);
  await loaded(page);
  for (const close of await page.getByRole('button', { name: 'Close this message' }).all()) await close.click();
  await tab(page, 'Face');
  await page.getByRole('button', { name: 'Reset', exact: true }).click();
  await page.getByRole('radio', { name: 'Splats' }).check({ force: true });
}

/** Drop files on the page as a hand does. */
async function drop(page, files) {
  await page.locator('main h1').first().waitFor();
  const data = files.map(({ path, name, type }) => ({ name, type, bytes: readFileSync(path).toString('base64') }));
  await page.evaluate((given) => {
    const transfer = new DataTransfer();
    for (const { name, type, bytes } of given) {
      const raw = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
      transfer.items.add(new File([raw], name, { type }));
    }
    const how = { bubbles: true, cancelable: true, dataTransfer: transfer };
    document.body.dispatchEvent(new DragEvent('dragenter', how));
    document.body.dispatchEvent(new DragEvent('drop', how));
  }, data);
}

/** Take a picture of the stage, as base64. */
async function picture(page) {
  await page.waitForTimeout(300);
  const shot = await page.locator('.stage-canvas').screenshot({ caret: 'initial' }); // hiding it would be an inline style
  return shot.toString('base64');
}

/** A photo is dropped, a head comes; its splats and its avatar are looked at. */
export async function makeHead(page, { url, photo }) {
  await page.goto(url);
  const before = Date.now();
  await drop(page, [{ path: photo, name: 'me.png', type: 'image/png' }]);
  await page.getByRole('radio', { name: /^Quick/ }).check({ force: true });
  await makeButton(page).click();
  await loaded(page);
  const seconds = (Date.now() - before) / 1000;
  const splats = await picture(page);
  const head = headOf(page);
  await page.getByRole('radio', { name: 'Avatar' }).check({ force: true });
  const avatar = await picture(page);
  return { head, seconds, splats, avatar, title: await page.title(), verdict: await page.locator('.verdict').textContent() };
}

/** The jaw's slider is moved. */
export async function moveJaw(page, { url, head }) {
  await open(page, url, head);
  await page.getByRole('radio', { name: 'Avatar' }).check({ force: true });
  const before = await picture(page);
  await page.getByRole('slider', { name: 'Jaw open' }).fill('0.9');
  const after = await picture(page);
  await page.getByRole('button', { name: 'Reset', exact: true }).click();
  return { before, after, reset: await picture(page), jaw: await page.getByRole('slider', { name: 'Jaw open' }).inputValue() };
}

/** From splats, a slider brings the avatar; presets set sliders; searching finds them. */
export async function express(page, { url, head }) {
  await open(page, url, head);
  const before = await page.locator('.stage').getAttribute('data-mode');
  await page.getByRole('button', { name: 'Surprised' }).click();
  const after = await page.locator('.stage').getAttribute('data-mode');
  const jaw = await page.getByRole('slider', { name: 'Jaw open' }).inputValue();
  await page.getByRole('searchbox').fill('smile left');
  const found = await page.locator('.group .slider:visible label').allTextContents();
  await page.getByRole('searchbox').fill('');
  const all = await page.locator('.group input[type=range]').count();
  await page.getByRole('button', { name: 'As in the photo' }).click();
  return { before, after, jaw: Number(jaw), found, all, photo: await picture(page) };
}

/** Of two faces in a photo the smaller one is chosen. */
export async function chooseFace(page, { url, photo }) {
  await start(page, url, [photo], 'Quick');
  await page.getByRole('button', { name: /^Face 2 of 2/ }).click();
  const pressed = await page.locator('.face-box[aria-pressed=true]').getAttribute('data-face');
  const boxes = await page.locator('.face-box').evaluateAll((all) => all.map((box) => box.getBoundingClientRect().x));
  const [answer] = await Promise.all([page.waitForResponse(`${url}api/heads`), makeButton(page).click()]);
  const { id, options } = await answer.json();
  await page.request.delete(`${url}api/heads/${id}`);
  return { pressed, face: options.face, isLeft: boxes[1] < boxes[0] };
}

/** Two heads at once: the queue, a reload, cancelling both. */
export async function twoJobs(page, { url, photos }) {
  await start(page, url, photos, 'Finest');
  await page.getByRole('radio', { name: /^Different people/ }).check({ force: true });
  await makeButton(page).click();
  await page.locator('.stages li[data-state=running]').first().waitFor();
  const first = headOf(page);
  const others = await page.locator('.others li').allTextContents();
  await page.reload();
  await page.locator('.stages li[data-state=running]').first().waitFor();
  const reloaded = { head: headOf(page), sentence: await page.locator('.progress-sentence').textContent() };
  await page.getByRole('link', { name: 'New head' }).click();
  await page.locator('.heads-queue').waitFor();
  const queue = await page.locator('.heads-queue .card-state').allTextContents();
  const work = await page.locator('#work').textContent();
  await page.goBack();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Stop and remove' }).click();
  await page.locator('.heads-queue .card[data-state=running]').waitFor();
  const left = await page.locator('.heads-queue .card').count();
  await page.locator('.heads-queue .card-remove').click();
  await page.getByRole('dialog').getByRole('button', { name: 'Stop and remove' }).click();
  await page.locator('.heads-queue').waitFor({ state: 'hidden' });
  return { first, others, reloaded, queue, work, left };
}

/** Files that are no photos, a broken one, and one without a face. */
export async function badFiles(page, { url, text, broken, blank }) {
  await page.goto(url);
  await drop(page, [{ path: text, name: 'notes.txt', type: 'text/plain' }]);
  await page.locator('.message').waitFor();
  const refused = await messages(page);
  const stays = await page.getByRole('button', { name: 'Choose photos' }).isVisible();
  await drop(page, [{ path: broken, name: 'broken.jpg', type: 'image/jpeg' }]);
  await page.locator('.photo-bad').waitFor();
  const note = await page.locator('.photo-bad .photo-note').textContent();
  await makeButton(page).click();
  await page.locator('.message').nth(1).waitFor();
  const sent = (await messages(page)).slice(1);
  await page.getByRole('button', { name: 'Remove broken.jpg' }).click();
  await drop(page, [{ path: blank, name: 'wall.png', type: 'image/png' }]);
  await page.locator('.photo-bad').waitFor();
  const noFace = await page.locator('.photo-bad .photo-note').textContent();
  await page.getByRole('radio', { name: /^Quick/ }).check({ force: true });
  await makeButton(page).click();
  await page.locator('.progress-view[data-state=failed]').waitFor();
  const failed = await page.locator('.progress-sentence').textContent();
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('button', { name: 'Choose photos' }).waitFor();
  return { refused, stays, note, sent, noFace, failed };
}

/** The same without a mouse. */
export async function keyboard(page, { url, photo, head }) {
  const focused = () => page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent?.trim() ?? '');
  const tabTo = async (words, most = 60) => {
    for (let step = 0; step < most; step += 1) {
      await page.keyboard.press('Tab');
      if ((await focused()).startsWith(words)) return true;
    }
    throw new Error(`Tab never reached ${words}; it ended at ${await focused()}`);
  };
  const chooser = page.waitForEvent('filechooser');
  await page.goto(url);
  await page.getByRole('button', { name: 'Choose photos' }).waitFor();
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press('Tab');
  const first = await focused();
  await page.keyboard.press('Enter');
  const skipped = await page.evaluate(() => document.activeElement?.id);
  await tabTo('Choose photos');
  const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  await page.keyboard.press('Enter');
  await (await chooser).setFiles(photo);
  await makeButton(page).waitFor();
  const ready = await focused();
  await open(page, url, head);
  await page.locator('.brand').focus();
  await tabTo('Face');
  await page.keyboard.press('ArrowLeft');
  const lastTab = await focused();
  await tabTo('Delete this head');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  const inDialog = [];
  for (let step = 0; step < 6; step += 1) {
    inDialog.push(await page.evaluate(() => document.activeElement === document.body || Boolean(document.activeElement?.closest('dialog'))));
    await page.keyboard.press('Tab');
  }
  await page.keyboard.press('Escape');
  const after = await focused();
  await page.getByRole('tab', { name: 'Files' }).focus();
  await page.keyboard.press('ArrowRight');
  const faceTab = await focused();
  await page.getByRole('slider', { name: 'Jaw open' }).focus();
  for (let step = 0; step < 5; step += 1) await page.keyboard.press('ArrowRight');
  const jaw = Number(await page.getByRole('slider', { name: 'Jaw open' }).inputValue());
  await page.getByRole('button', { name: 'Compare' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('slider', { name: /^Divider/ }).focus();
  await page.keyboard.press('Home');
  const divider = await page.getByRole('slider', { name: /^Divider/ }).getAttribute('aria-valuenow');
  await page.getByRole('button', { name: 'Compare' }).click();
  return { first, skipped, ring, ready, lastTab, inDialog, after, faceTab, jaw, divider };
}

/** One more format is made and saved; the photo is laid over; two ways are compared. */
export async function filesAndViews(page, { url, head, out }) {
  await open(page, url, head);
  await tab(page, 'View');
  const plain = await picture(page);
  await page.getByRole('slider', { name: 'Photo', exact: true }).fill('1');
  await page.waitForTimeout(500);
  const laid = await picture(page);
  await page.getByRole('slider', { name: 'Photo', exact: true }).fill('0');
  await page.getByRole('button', { name: 'Reset the view' }).click();
  await page.getByRole('radio', { name: 'Avatar' }).check({ force: true });
  const lit = await picture(page);
  await page.getByRole('slider', { name: 'From the side' }).fill('-90');
  const dark = await picture(page);
  await tab(page, 'Files');
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Make head.spz' }).click(),
  ]);
  await download.saveAs(`${out}/made.spz`);
  await page.getByRole('link', { name: 'Download head.spz' }).waitFor();
  return { plain, laid, lit, dark, name: download.suggestedFilename() };
}

/** A recording is dropped and plays; a broken one is refused. */
export async function playRecording(page, { url, head, csv, text }) {
  await open(page, url, head);
  await drop(page, [{ path: text, name: 'broken.csv', type: 'text/csv' }]);
  await page.locator('.message').waitFor();
  const refused = await messages(page);
  await drop(page, [{ path: csv, name: 'take.csv', type: 'text/csv' }]);
  await page.getByRole('button', { name: 'Pause' }).click(); // the tab of recordings has opened
  const mode = await page.locator('.stage').getAttribute('data-mode');
  const length = await page.locator('.player output').textContent();
  const scrub = page.locator('.player input[type=range]');
  const jaws = [];
  for (const time of ['0', '0.5', '1']) {
    await scrub.fill(time);
    jaws.push(Number(await page.getByRole('slider', { name: 'Jaw open', includeHidden: true }).inputValue()));
  }
  return { refused, mode, length, jaws };
}

/** The webcam drives the head and is recorded. */
export async function webcam(page, { url, head, out }) {
  await open(page, url, head);
  await tab(page, 'Animate');
  await page.getByRole('button', { name: 'Use the webcam' }).click();
  await page.getByText('Your face moves the head.').waitFor();
  await page.getByRole('button', { name: 'Record', exact: true }).click();
  await page.getByRole('button', { name: /^Stop recording, 0:0[1-9]/ }).click();
  const [saved] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Download as CSV' }).click(),
  ]);
  await saved.saveAs(`${out}/take.csv`);
  await page.getByRole('button', { name: 'Turn the webcam off' }).click();
  return { isOff: await page.getByRole('button', { name: 'Use the webcam' }).isVisible() };
}

const LOOKS = [
  { name: 'light', width: 1000, height: 640, colorScheme: 'light' },
  { name: 'dark', width: 1000, height: 640, colorScheme: 'dark' },
  { name: 'phone', width: 360, height: 740, colorScheme: 'light' },
];

/** Faults that axe-core finds in every state of the page, and what is wider than the window. */
export async function accessibility(page, { url, head, photo }) {
  const found = { checked: 0, faults: [], wide: [] };
  const check = async (where) => {
    for (const { name, width, height, colorScheme } of LOOKS) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme });
      if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(readFileSync(axePath, 'utf8'));
      const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ['violations'] }));
      for (const { id, impact, nodes } of violations) {
        if (impact !== 'serious' && impact !== 'critical') continue;
        found.faults.push(`${where}, ${name}: ${id}: ${nodes[0].html.slice(0, 160)}`);
      }
      const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (over > 0) found.wide.push(`${where}, ${name}: ${over} px`);
      found.checked += 1;
    }
    await page.setViewportSize({ width: 1000, height: 640 });
  };
  await open(page, url, head);
  for (const name of ['Animate', 'View', 'Files', 'Face']) {
    await tab(page, name);
    await check(name);
  }
  await page.getByRole('button', { name: 'Compare' }).click();
  await tab(page, 'Files');
  await page.getByRole('button', { name: 'Delete this head' }).click();
  await check('dialog');
  await page.keyboard.press('Escape');
  await drop(page, [{ path: photo, name: 'next.png', type: 'image/png' }]); // onto a head: the page goes to the start
  await makeButton(page).waitFor();
  await page.getByText('More options').click();
  await check('options');
  await page.getByRole('button', { name: 'Remove next.png' }).click();
  await page.locator('.card').first().waitFor();
  await check('start');
  await page.emulateMedia({ colorScheme: 'light' });
  return found;
}

/** Make a head for real, and take a picture of each thing on the way. */
export async function tour(page, { url, photo, quality, out }) {
  const shot = (name) => page.screenshot({ path: `${out}/${name}.png`, caret: 'initial' });
  const still = () => page.waitForTimeout(1000);
  const desk = { width: 1280, height: 800 };
  await page.setViewportSize(desk);
  await page.goto(url);
  await page.getByRole('button', { name: 'Choose photos' }).waitFor();
  const began = Date.now();
  await drop(page, [{ path: photo, name: 'Eileen Collins.png', type: 'image/png' }]);
  await page.getByRole('radio', { name: new RegExp(`^${quality}`) }).check({ force: true });
  const sent = Date.now();
  await makeButton(page).click();
  await page.locator('.stages li[data-state=done]').nth(2).waitFor({ timeout: 300_000 });
  await shot('progress');
  await page.locator('.finished').waitFor({ timeout: 600_000 });
  const made = Date.now();
  await loaded(page);
  const shown = Date.now();
  await still();
  await shot('head');
  await page.getByRole('button', { name: 'Surprised' }).click();
  await page.emulateMedia({ colorScheme: 'dark' });
  await still();
  await shot('expressions');
  await page.getByRole('button', { name: 'As in the photo' }).click();
  await tab(page, 'View');
  await page.getByRole('button', { name: 'Compare' }).click();
  await still();
  await shot('compare');
  await page.getByRole('button', { name: 'Compare' }).click();
  await page.emulateMedia({ colorScheme: 'light' });
  await page.getByRole('radio', { name: 'Splats' }).check({ force: true });
  await tab(page, 'Files');
  await page.setViewportSize({ width: 360, height: 740 });
  await still();
  await shot('phone');
  await page.setViewportSize(desk);
  const modes = await page.getByRole('group', { name: 'Shown as' }).getByRole('radio').count();
  return { make_s: (made - sent) / 1000, show_s: (shown - made) / 1000, whole_s: (shown - began) / 1000, modes };
}
