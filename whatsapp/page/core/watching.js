// Whose presence the tabs want to see, gathered for the one connection that they share.

import { listen, publish, TAB } from './bus.js';

const WATCHED_MAX = 256;

export class Watching {
  constructor(send) {
    this.send = send;
    this.wanted = new Map(); // tab → users
    this.sent = '';
    this.deaf = [
      listen('watch', ({ tab, users }) => this.take(tab, users)),
      listen('tab-closed', ({ tab }) => this.take(tab, [])),
    ];
    publish({ kind: 'who-watches' });
  }

  take(tab, users) {
    this.wanted.set(tab, users);
    this.tell();
  }

  /** A new connection, or a tab that has not been told: all of it once more. */
  again() {
    this.sent = '';
    this.tell();
  }

  tell() {
    const users = [...new Set([...this.wanted.values()].flat())].slice(0, WATCHED_MAX);
    const key = users.join(' ');
    if (key !== this.sent && this.send({ type: 'watch', users })) this.sent = key;
  }

  stop() {
    for (const stop of this.deaf) stop();
  }
}

// --- each tab's side -----------------------------------------------------------------

let mine = [];

export function watch(users) {
  if (users.join(' ') === mine.join(' ')) return;
  mine = users;
  publish({ kind: 'watch', tab: TAB, users });
}

listen('who-watches', () => publish({ kind: 'watch', tab: TAB, users: mine }));
addEventListener('pagehide', () => publish({ kind: 'tab-closed', tab: TAB }));
