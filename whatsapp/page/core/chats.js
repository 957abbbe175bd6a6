// The chats that this browser knows: records in IndexedDB, mirrored in memory in every tab.
// All changes go through `changeChats`, one transaction, and are published with a `rev`.

import { batch, computed, signal } from '../html.js';
import { asked, reading, writing } from './database.js';
import { hand, listen, publish } from './bus.js';
import { activity, newRecord, takeInfo } from './record.js';
import { directChat } from './ids.js';
import { get, at } from './rest.js';
import { me } from './state.js';
import { learnNames } from './people.js';

/** Chat id → record. */
export const chats = signal(new Map());
/** Chat id → texts waiting in the outbox, newest last. */
export const queued = signal(new Map());

export const ordered = computed(() => {
  const waiting = queued.value;
  const time = (record) => Math.max(activity(record), waiting.get(record.chat)?.at(-1)?.time ?? 0);
  const begun = [...waiting.keys()].filter((chat) => !chats.value.has(chat));
  return [...chats.value.values(), ...begun.map((chat) => newRecord(chat, me()))]
    .filter((record) => record.last || waiting.has(record.chat) || record.kind === 'group')
    .map((record) => ({ record, time: time(record) }))
    .sort((one, other) => other.time - one.time);
});

export const unreadChats = computed(() =>
  [...chats.value.values()].filter((record) => record.unread > 0).length);

listen('chats', ({ records }) => {
  const next = new Map(chats.peek());
  for (const record of records) {
    if ((next.get(record.chat)?.rev ?? -1) < record.rev) next.set(record.chat, record);
  }
  chats.value = next;
});

listen('outbox', ({ rows }) => {
  const next = new Map();
  for (const row of rows) next.set(row.chat, [...(next.get(row.chat) ?? []), row]);
  queued.value = next;
});

export async function loadChats() {
  const [records, rows] = await reading(['chats', 'outbox'], (stores) =>
    Promise.all([asked(stores.chats.getAll()), asked(stores.outbox.getAll())]));
  batch(() => {
    chats.value = new Map(records.map((record) => [record.chat, record]));
    hand({ kind: 'outbox', rows });
  });
}

/** The record, or one that is not kept yet: a direct chat begins with its first message. */
export function recordOf(chat) {
  return chats.value.get(chat) ?? newRecord(chat, me());
}

/** Within a transaction with `chats`: the record, a copy to change. */
export async function loadRecord(stores, chat) {
  return (await asked(stores.chats.get(chat))) ?? newRecord(chat, me());
}

export async function saveRecord(stores, record) {
  record.rev += 1;
  await asked(stores.chats.put(record));
}

/** Change one record in a transaction of its own; `change` may return false for "nothing". */
export async function changeChat(chat, change) {
  const record = await writing(['chats'], async (stores) => {
    const found = await loadRecord(stores, chat);
    if (change(found) === false) return null;
    await saveRecord(stores, found);
    return found;
  });
  if (record) publish({ kind: 'chats', records: [record] });
  return record;
}

/** Take what the server told of these chats. `adjust`: a last word on each record. */
export async function takeInfos(infos, adjust = () => {}) {
  const records = await writing(['chats'], async (stores) => {
    const changed = [];
    for (const info of infos) {
      const record = await loadRecord(stores, info.chat);
      takeInfo(record, info);
      adjust(record, info);
      await saveRecord(stores, record);
      changed.push(record);
    }
    return changed;
  });
  publish({ kind: 'chats', records });
  learnNames(infos.filter((info) => info.kind === 'direct' && info.with)
    .map((info) => ({ user: info.with, name: info.title })));
  return records;
}

const asking = new Map();

/** Ask the server about one chat, its members included. */
export function refreshChat(chat) {
  if (!asking.has(chat)) {
    const asked = get(at`/v1/chats/${chat}`)
      .then(async (info) => (await takeInfos([info]))[0])
      .finally(() => asking.delete(chat));
    asking.set(chat, asked);
  }
  return asking.get(chat);
}

export const chatWith = (user) => directChat(me(), user);
