// Builds the pages into the Python package: the same source gives the same bytes.

import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  base: './',
  build: {
    outDir: here('../spinmeround/server/static'),
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    license: { fileName: 'NOTICE.md' },
    chunkSizeWarningLimit: 5000,
    rolldownOptions: {
      checks: { pluginTimings: false },
      input: { app: here('index.html'), view: here('viewer.html') },
      output: {
        // One file holds the viewer and its libraries, so that it can be put into a page of its own.
        codeSplitting: { groups: [{ name: 'viewer', test: /node_modules|src[\\/]viewer[\\/]/ }] },
        entryFileNames: '[name].js',
        chunkFileNames: '[name].js',
        assetFileNames: '[name][extname]',
      },
    },
  },
});
