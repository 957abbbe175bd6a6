// Reading and typing: what the user does that others see, and what is seen of theirs.

import { signal } from '../html.js';
import { listen, publish } from './bus.js';
import { changeChat, recordOf } from './chats.js';
import { asked, rangeOf, reading } from './database.js';
import { me } from './state.js';
import { runOf } from './runs.js';
import { UNREAD_MAX } from './record.js';

const TYPING_REPEAT_MS = 3_000;

/** The user has seen a chat up to `seq`; told to the server now, or when it is there again. */
export async function markRead(chat, seq) {
  const from = recordOf(chat).read;
  if (seq <= from) return;
  const [seen, rest] = await reading(['messages'], ({ messages }) => Promise.all([
    asked(messages.getAll(rangeOf(chat, from + 1, seq))),
    asked(messages.getAll(rangeOf(chat, seq + 1, Number.MAX_SAFE_INTEGER))),
  ]));
  const record = await changeChat(chat, (one) => {
    if (one.rev === 0 || seq <= one.read || one.left) return false;
    one.read = seq;
    one.unread = left(one, count(seen), count(rest));
    return true;
  });
  if (record) publish({ kind: 'frame', frame: { type: 'read', chat, seq } });
}

const count = (items) => items.filter((item) => item.from !== me() && item.kind !== 'void').length;

/** What is unread still: counted where all of it is here, else what was known less what was seen. */
function left(record, seen, rest) {
  if (record.read >= record.head) return 0;
  const run = runOf(record.runs, record.read + 1);
  if (run && run[1] >= record.head) return rest;
  if (record.unread >= UNREAD_MAX) return Math.min(UNREAD_MAX, record.head - record.read);
  return Math.max(rest, record.unread - seen);
}

let typed = { chat: '', at: 0 };

/** A key was pressed. Told again every few seconds, for it stops by itself. */
export function typing(chat) {
  if (typed.chat === chat && Date.now() - typed.at < TYPING_REPEAT_MS) return;
  if (typed.chat && typed.chat !== chat) stopTyping();
  typed = { chat, at: Date.now() };
  publish({ kind: 'frame', frame: { type: 'typing', chat, on: true } });
}

export function stopTyping() {
  if (!typed.chat) return;
  publish({ kind: 'frame', frame: { type: 'typing', chat: typed.chat, on: false } });
  typed = { chat: '', at: 0 };
}

// --- who else types: forgotten after a while, for the word that it ended may be lost ---

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
