// Where the page begins: look what this browser has, show it, then look for the server.

import { html, render } from './html.js';
import { App } from './views/app.js';
import { loadDrafts } from './core/drafts.js';
import { resume } from './core/account.js';
import { publish, TAB } from './core/bus.js';
import { plainWords } from './core/errors.js';
import { say } from './core/state.js';

async function begin() {
  const place = document.getElementById('app');
  try {
    await loadDrafts();
    await resume();
  } catch (error) {
    place.textContent = plainWords(error);
    return;
  }
  place.textContent = '';
  render(html`<${App} />`, place);
  publish({ kind: 'tab-opened', tab: TAB });
  // Somebody looks, or the network is back: the tab with the connection is to try at once.
  const hurry = () => { if (!document.hidden) publish({ kind: 'hurry' }); };
  addEventListener('online', hurry);
  addEventListener('offline', () => publish({ kind: 'cut' }));
  document.addEventListener('visibilitychange', hurry);
  keepForOffline();
}

async function keepForOffline() {
  if (!('serviceWorker' in navigator)) return;
  try {
    const updating = Boolean(navigator.serviceWorker.controller);
    await navigator.serviceWorker.register('/sw.js');
    navigator.serviceWorker.addEventListener('controllerchange', () => {
      if (updating) say('There is a new version of this page. Reload it when it suits you.');
    });
    // Ask the browser not to clear what is not at the server yet.
    // (Firefox would put the question to the user, who has not done anything yet.)
    if ('userAgentData' in navigator) await navigator.storage?.persist?.();
  } catch (error) {
    console.info('without a service worker:', error.message);
  }
}

begin();
