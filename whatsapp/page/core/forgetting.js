// Chats in this browser that are not the server's: it was set up anew, or from an older copy.
// Looked for after a login; what the user has not sent yet is never touched.

import { asked, rangeOf, writing } from './database.js';
import { chats } from './chats.js';
import { listen, publish } from './bus.js';

const forget = async (stores, chat) => {
  await asked(stores.messages.delete(rangeOf(chat, 0, Number.MAX_SAFE_INTEGER)));
  await asked(stores.chats.delete(chat));
};

/** Drop those of these chats whose log is another one than we know. */
export async function forgetStale(infos) {
  const gone = await writing(['chats', 'messages'], async (stores) => {
    const stale = [];
    for (const { chat, head, last } of infos) {
      const record = await asked(stores.chats.get(chat));
      if (!record) continue;
      const kept = last && await asked(stores.messages.get([chat, last.seq]));
      if (head >= (record.applied ?? 0) && (!kept || kept.id === last.id)) continue;
      await forget(stores, chat);
      stale.push(chat);
    }
    return stale;
  });
  tell(gone);
}

export async function forgetAllBut(known) {
  const gone = await writing(['chats', 'messages'], async (stores) => {
    const stale = (await asked(stores.chats.getAllKeys())).filter((chat) => !known.has(chat));
    for (const chat of stale) await forget(stores, chat);
    return stale;
  });
  tell(gone);
}

function tell(gone) {
  if (gone.length) publish({ kind: 'chats-gone', gone });
}

listen('chats-gone', ({ gone }) => {
  const next = new Map(chats.peek());
  for (const chat of gone) next.delete(chat);
  chats.value = next;
});
