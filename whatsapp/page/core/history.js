// Pages of a chat's log: from the database where it has them, else from the server, which are
// then kept. A page never has a hole in it.

import { asked, rangeOf, reading, writing } from './database.js';
import { loadRecord, recordOf, saveRecord } from './chats.js';
import { addRun, runOf } from './runs.js';
import { at, get } from './rest.js';
import { publish } from './bus.js';

export const PAGE = 60;

/** Up to `PAGE` entries before `seq`. `more`: there are older ones; `first`: seqs from here. */
export async function before(chat, seq) {
  const run = runOf(recordOf(chat).runs, seq - 1);
  if (!run) return fetchBefore(chat, seq);
  const items = await local(chat, Math.max(run[0], seq - PAGE), seq - 1);
  return { items, first: Math.max(run[0], seq - PAGE), more: Math.max(run[0], seq - PAGE) > 1 };
}

/** Up to `PAGE` entries after `seq`. `last`: seqs up to here. */
export async function after(chat, seq) {
  const record = recordOf(chat);
  const run = runOf(record.runs, seq + 1);
  if (!run) return fetchAfter(chat, seq);
  const last = Math.min(run[1], seq + PAGE);
  return { items: await local(chat, seq + 1, last), last };
}

const local = (chat, first, last) =>
  reading(['messages'], ({ messages }) => asked(messages.getAll(rangeOf(chat, first, last))));

export async function one(chat, seq) {
  const found = await reading(['messages'], ({ messages }) => asked(messages.get([chat, seq])));
  return found ?? null;
}

async function fetchBefore(chat, seq) {
  const { messages: items, more } = await get(at`/v1/chats/${chat}/messages`, { before: seq, limit: PAGE });
  // What lies between the page and `seq` without being in it, this user may not see.
  const first = more && items.length ? items[0].seq : 1;
  await keep(chat, items, first, seq - 1);
  return { items, first, more };
}

async function fetchAfter(chat, seq) {
  const { messages: items, more } = await get(at`/v1/chats/${chat}/messages`, { after: seq, limit: PAGE });
  const last = items.at(-1)?.seq ?? seq;
  if (items.length) await keep(chat, items, seq + 1, last);
  return { items, last: more ? last : Math.max(last, seq) };
}

/** The newest page, from the server, so that a chat that was never opened has its end. */
export async function fetchNewest(chat) {
  const { messages: items, more } = await get(at`/v1/chats/${chat}/messages`, { limit: PAGE });
  if (!items.length) return { items, first: 1, more: false };
  const first = more ? items[0].seq : 1;
  await keep(chat, items, first, items.at(-1).seq);
  return { items, first, more };
}

async function keep(chat, items, first, last) {
  const record = await writing(['chats', 'messages'], async (stores) => {
    for (const item of items) await asked(stores.messages.put(item));
    const found = await loadRecord(stores, chat);
    if (last >= first) found.runs = addRun(found.runs, first, last);
    await saveRecord(stores, found);
    return found;
  });
  publish({ kind: 'chats', records: [record] });
}

/** Without case and accents. */
export const fold = (text) => text.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();

/** Texts in this browser with all the words; for when the server cannot be asked. */
export async function searchHere(words, chat) {
  const wanted = fold(words).split(/\s+/).filter(Boolean);
  const found = await reading(['messages'], ({ messages }) =>
    asked(messages.getAll(chat ? rangeOf(chat, 0, Number.MAX_SAFE_INTEGER) : undefined)));
  return found
    .filter((item) => item.text && wanted.every((word) => fold(item.text).includes(word)))
    .sort((one_, other) => other.time - one_.time)
    .slice(0, 100)
    .map((message) => ({ message, chat: message.chat, snippet: message.text.slice(0, 160) }));
}
