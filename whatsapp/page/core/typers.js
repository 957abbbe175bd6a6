// Who is typing where, as told by the server; forgotten after a while, for the word that it
// ended may be lost.

import { signal } from '../html.js';
import { listen } from './bus.js';

const SHOWN_MS = 6_500;

/** Chat → users who type there. */
export const typers = signal(new Map());
const timers = new Map();

function set(chat, user, on) {
  const key = `${chat} ${user}`;
  clearTimeout(timers.get(key));
  timers.delete(key);
  const here = (typers.peek().get(chat) ?? []).filter((one) => one !== user);
  if (on) {
    here.push(user);
    timers.set(key, setTimeout(() => set(chat, user, false), SHOWN_MS));
  } else if (here.length === (typers.peek().get(chat) ?? []).length) {
    return;
  }
  const next = new Map(typers.peek());
  if (here.length) next.set(chat, here);
  else next.delete(chat);
  typers.value = next;
}

listen('typing', ({ chat, user, on }) => set(chat, user, on));
// Who has written has stopped typing.
listen('messages', ({ items }) => { for (const { chat, from } of items) if (from) set(chat, from, false); });
