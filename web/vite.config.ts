// Builds the pages into the Python package: the same source gives the same bytes.

import { existsSync } from 'node:fs';
import { defineConfig } from 'vite';

const pages = ['index.html', 'viewer.html'].filter((page) => existsSync(new URL(page, import.meta.url)));

export default defineConfig({
  base: './',
  build: {
    outDir: '../spinmeround/server/static',
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 5000,
    rolldownOptions: {
      input: pages.map((page) => new URL(page, import.meta.url).pathname),
      output: {
        entryFileNames: '[name].js',
        chunkFileNames: '[name].js',
        assetFileNames: '[name][extname]',
      },
    },
  },
});
