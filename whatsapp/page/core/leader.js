// One tab of this browser has the connection: the one with the lock, and after it the next. Where
// there are no locks (plain http), each tab tries, and the server lets the newest.

import { Sync } from './sync.js';

const LOCK = 'messages-link';

let sync = null;
let release = null;
let waiting = null;

export function lead(session, ended) {
  retire();
  if (!navigator.locks) {
    begin(session, ended);
    return;
  }
  waiting = new AbortController();
  navigator.locks.request(LOCK, { signal: waiting.signal }, () => {
    waiting = null;
    begin(session, ended);
    return new Promise((resolve) => { release = resolve; });
  }).catch((error) => {
    // Aborted: logged out before it was our turn.
    if (error.name !== 'AbortError') throw error;
  });
}

function begin(session, ended) {
  sync = new Sync(session, ended);
  sync.start();
}

/** Logged out: no connection any more. */
export function retire() {
  waiting?.abort();
  waiting = null;
  sync?.stop();
  sync = null;
  release?.();
  release = null;
}
