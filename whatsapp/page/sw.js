// The service worker: keeps the page's files, so that it opens without the server, and leaves the
// API alone. The server puts `self.SHELL` in front: the files, and a version that changes with them.

const CACHE = `shell-${self.SHELL.version}`;

self.addEventListener('install', (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(CACHE);
    await cache.addAll(self.SHELL.files.map((file) => new Request(file, { cache: 'no-cache' })));
    await self.skipWaiting();
  })());
});

self.addEventListener('activate', (event) => {
  event.waitUntil((async () => {
    const names = await caches.keys();
    await Promise.all(names.filter((name) => name !== CACHE).map((name) => caches.delete(name)));
    await self.clients.claim();
  })());
});

const SHELL_FILES = new Set(self.SHELL.files);

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== 'GET' || origin !== location.origin || !SHELL_FILES.has(pathname)) return;
  event.respondWith((async () => {
    const kept = await (await caches.open(CACHE)).match(pathname);
    return kept ?? fetch(request);
  })());
});
