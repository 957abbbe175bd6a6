// One line above the chats about lasting troubles: no connection, no room, another version.

import { html, useEffect, useState } from '../html.js';
import { link, storageTrouble } from '../core/state.js';
import { publish } from '../core/bus.js';
import { queued } from '../core/chats.js';
import { Alert } from './icons.js';

// A reconnect takes less than this mostly; nobody needs to read about it.
const QUIET_MS = 1_500;

export function Banner() {
  const { state, retryAt, since } = link.value;
  const [, look] = useState(0);
  const away = state !== 'live' && state !== 'replaced' && state !== 'version';
  useEffect(() => {
    if (!away) return undefined;
    const timer = setInterval(() => look((n) => n + 1), 1_000);
    return () => clearInterval(timer);
  }, [away]);
  if (storageTrouble.value) return html`<${Line} text=${storageTrouble.value} bad />`;
  if (state === 'replaced') {
    return html`<${Line} text="Connected in another window." action="Use it here"
      act=${() => publish({ kind: 'take-over' })} />`;
  }
  if (state === 'version') {
    return html`<${Line} bad text="The server speaks another version than this page."
      action="Reload" act=${() => location.reload()} />`;
  }
  if (!away || Date.now() - since < QUIET_MS) return null;
  if (state === 'syncing') return html`<${Line} text="Getting what is new …" />`;
  const seconds = Math.ceil((retryAt - Date.now()) / 1000);
  const unsent = [...queued.value.values()].flat().filter((row) => row.state === 'queued').length;
  const kept = unsent === 0 ? '' : unsent === 1 ? ' 1 message waits.' : ` ${unsent} messages wait.`;
  const text = navigator.onLine ? `No connection to the server.${kept}` : `You are offline.${kept}`;
  return html`<${Line} text=${text} note=${seconds > 2 ? `Trying again in ${seconds} s` : 'Connecting …'}
    action=${seconds > 2 ? 'Now' : ''} act=${() => publish({ kind: 'hurry' })} />`;
}

function Line({ text, note, action, act, bad = false }) {
  return html`<div class="banner ${bad ? 'bad' : ''}" data-testid="banner">
    <${Alert} size=${18} />
    <p><span role="status">${text}</span>${note && html`<span class="banner-note"> ${note}</span>`}</p>
    ${action && html`<button type="button" class="text-button" onClick=${act}>${action}</button>`}
  </div>`;
}
