// Drives the page in Chromium: a line of JSON on stdin names a scenario, a line on stdout says how it went.
//
// node driver.mjs NODE_MODULES CHROMIUM [VIDEO.mjpeg]: the video is what the webcam shows.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import * as scenarios from './scenarios.mjs';

const [modules, chromiumPath, video] = process.argv.slice(2);
const require = createRequire(pathToFileURL(join(modules, 'package.json')));
const { chromium } = require('playwright-core');
scenarios.setAxe(require.resolve('axe-core/axe.min.js'));

const browser = await chromium.launch({
  executablePath: chromiumPath,
  args: [
    '--no-sandbox',
    '--use-angle=swiftshader',
    '--enable-unsafe-swiftshader',
    '--ignore-gpu-blocklist',
    '--use-fake-ui-for-media-stream',
    '--use-fake-device-for-media-stream',
    ...(video ? [`--use-file-for-fake-video-capture=${video}`] : []),
  ],
});

// One page for all: without a graphics card the shaders take seconds to compile, once a page.
const context = await browser.newContext({
  viewport: { width: 1000, height: 640 },
  reducedMotion: 'reduce',
  acceptDownloads: true,
  permissions: ['camera'],
});
const page = await context.newPage();
page.setDefaultTimeout(60_000);
let seen = { requests: [], faults: [] };
page.on('request', (request) => seen.requests.push(request.url()));
page.on('pageerror', (error) => seen.faults.push(error.message));
page.on('console', (message) => {
  const isBroken = message.type() === 'error' && !/Failed to load resource/.test(message.text());
  if (isBroken) seen.faults.push(message.text());
});

async function run({ scenario, ...given }) {
  const found = await scenarios[scenario](page, given);
  const answer = { found, ...seen };
  seen = { requests: [], faults: [] };
  return answer;
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await run(JSON.parse(line));
  } catch (error) {
    answer = { error: String(error.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
