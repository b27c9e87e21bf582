// Drives pages in Chromium: each line of JSON on stdin opens a page or runs code in it, a line on stdout answers.
//
// node drive_viewer.mjs NODE_MODULES CHROMIUM

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [modules, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(pathToFileURL(join(modules, 'package.json')))('playwright-core');
const args = ['--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist'];
const browser = await chromium.launch({ executablePath, args });
let context;
let page;
let seen;

async function open({ url, width, height }) {
  await context?.close();
  context = await browser.newContext({ viewport: { width, height }, reducedMotion: 'reduce' });
  page = await context.newPage();
  seen = { requests: [], faults: [] };
  page.on('request', (request) => seen.requests.push(request.url()));
  page.on('pageerror', (error) => seen.faults.push(error.message));
  const started = performance.now();
  await page.goto(url);
  await page.waitForFunction(() => document.documentElement.dataset.state, null, { timeout: 120_000 });
  const seconds = (performance.now() - started) / 1000;
  const state = await page.evaluate(() => document.documentElement.dataset.state);
  const status = await page.evaluate(() => document.getElementById('status').textContent);
  return { seconds, state, status };
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  let answer;
  try {
    const value = order.url ? await open(order) : await page.evaluate(order.code);
    answer = { value: value ?? null, ...seen };
  } catch (error) {
    answer = { error: String(error.message ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
