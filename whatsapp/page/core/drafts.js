// What was typed and not sent, per chat: nothing typed is lost, whatever happens to the page.

import { signal } from '../html.js';
import { asked, getMeta, reading, writingAtOnce } from './database.js';
import { listen, publish, TAB } from './bus.js';
import { me } from './state.js';

const SAVE_AFTER_MS = 300;
const PARTING = 'parting-drafts';

/** Chat → {chat, text, reply_to}. */
export const drafts = signal(new Map());
const timers = new Map();

export async function loadDrafts() {
  const found = await reading(['drafts'], (stores) => asked(stores.drafts.getAll()));
  drafts.value = new Map(found.map((draft) => [draft.chat, draft]));
  const { user, parting } = JSON.parse(sessionStorage.getItem(PARTING) ?? '{}');
  sessionStorage.removeItem(PARTING);
  if (!parting || user !== (await getMeta('owner'))) return;
  for (const draft of parting) keepDraft(draft.chat, draft.text, draft.reply_to, 0);
}

listen('other-user', () => {
  for (const timer of timers.values()) clearTimeout(timer);
  timers.clear();
  drafts.value = new Map();
});

listen('draft', ({ draft, tab }) => { if (tab !== TAB) take(draft); });

function take(draft) {
  const next = new Map(drafts.peek());
  if (draft.text || draft.reply_to) next.set(draft.chat, draft);
  else next.delete(draft.chat);
  drafts.value = next;
}

export function keepDraft(chat, text, replyTo = null, afterMs = SAVE_AFTER_MS) {
  const draft = { chat, text, reply_to: replyTo };
  take(draft);
  clearTimeout(timers.get(chat));
  if (afterMs) timers.set(chat, setTimeout(() => save(draft), afterMs));
  else save(draft);
}

/** The text is in the outbox, or about to be. */
export const dropDraft = (chat) => keepDraft(chat, '', null, 0);

async function save(draft) {
  timers.delete(draft.chat);
  try {
    await writingAtOnce(['drafts'], (stores) => asked(
      draft.text || draft.reply_to ? stores.drafts.put(draft) : stores.drafts.delete(draft.chat)));
    publish({ kind: 'draft', draft, tab: TAB });
  } catch { /* it is still in memory, and in the field */ }
}

// Closing the page waits for no timer, and may lose a write that begins now: what a reload of
// this tab needs is written at once.
addEventListener('pagehide', () => {
  const parting = [];
  for (const [chat, timer] of timers) {
    clearTimeout(timer);
    const draft = drafts.peek().get(chat) ?? { chat, text: '', reply_to: null };
    parting.push(draft);
    save(draft);
  }
  try {
    sessionStorage.setItem(PARTING, JSON.stringify({ user: me(), parting }));
  } catch { /* no room: the database has it, most likely */ }
});
