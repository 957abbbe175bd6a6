// Texts on their way: kept until the server has them. Each has its id from the beginning, so it
// may be sent again and is stored once. Within a chat one is under way at a time: order is kept.
//
// A row: {n, id, chat, text, reply_to, time, state: 'queued' | 'failed', why}

import { asked, reading, writing, writingAtOnce } from './database.js';
import { publish } from './bus.js';
import { now, waiting } from './clock.js';
import { newId } from './ids.js';
import { drafts, dropDraft } from './drafts.js';
import { me } from './state.js';
import { plainWords, Refused } from './errors.js';

const NOTED = 'unsent ';
const PAUSE_MS = 2_000;
const PAUSE_MAX_MS = 60_000;

export async function publishOutbox() {
  const rows = await reading(['outbox'], ({ outbox }) => asked(outbox.getAll()));
  publish({ kind: 'outbox', rows });
}

/** Keep a text for sending; resolves when the database has it. */
export async function enqueue(chat, text, replyTo) {
  const row = { id: newId(), chat, text, reply_to: replyTo, time: now(), state: 'queued', why: '' };
  note(row);
  try {
    await add(row);
  } finally {
    localStorage.removeItem(NOTED + row.id);
  }
  await publishOutbox();
  publish({ kind: 'flush' });
}

async function add(row) {
  try {
    await writingAtOnce(['outbox'], ({ outbox }) => asked(outbox.add(row)));
  } catch (error) {
    if (!/Constraint/.test(error.message)) throw error; // another tab has found the note of it
  }
}

// A page that closes takes along what the database has not begun yet. A note is there at once, and
// goes into the outbox at the next start. If it was sent already, its id tells.
function note(row) {
  try {
    localStorage.setItem(NOTED + row.id, JSON.stringify({ ...row, user: me() }));
  } catch { /* no room: the database will say so */ }
}

export async function recover(user) {
  const names = Object.keys(localStorage).filter((name) => name.startsWith(NOTED));
  const found = names.map((name) => JSON.parse(localStorage.getItem(name)))
    .filter((row) => row.user === user).sort((one, other) => one.time - other.time);
  for (const { user: _, ...row } of found) {
    await add(row);
    if (drafts.peek().get(row.chat)?.text === row.text) dropDraft(row.chat);
  }
  for (const name of names) localStorage.removeItem(name);
}

async function changeRow(n, change) {
  await writing(['outbox'], async ({ outbox }) => {
    const row = await asked(outbox.get(n));
    if (row) await change(outbox, row);
  });
  await publishOutbox();
}

/** Try a failed one again, as a new message at its old place. */
export async function retryRow(n) {
  await changeRow(n, (outbox, row) =>
    asked(outbox.put({ ...row, id: newId(), state: 'queued', why: '' })));
  publish({ kind: 'flush' });
}

export const deleteRow = (n) => changeRow(n, (outbox) => asked(outbox.delete(n)));

/** The leading tab's side: takes rows in order and hands them to the link. */
export class Sender {
  constructor(send) {
    this.send = send;
    this.underWay = new Map(); // chat → id
    this.paused = new Map(); // chat → {text, timer}
    this.refusals = new Map(); // chat → how often in a row it was told to wait
    this.again = false;
    this.busy = false;
  }

  /** The connection is gone: nobody answers what is under way. */
  reset() {
    this.underWay.clear();
  }

  async pump() {
    this.again = true;
    if (this.busy) return;
    this.busy = true;
    try {
      while (this.again) {
        this.again = false;
        const rows = await reading(['outbox'], ({ outbox }) => asked(outbox.getAll()));
        for (const row of rows) this.offer(row);
      }
    } finally {
      this.busy = false;
    }
  }

  offer({ id, chat, text, reply_to: replyTo, state }) {
    if (state !== 'queued' || this.underWay.has(chat) || this.paused.has(chat)) return;
    const frame = { type: 'send', id, chat, text };
    if (replyTo) frame.reply_to = replyTo;
    if (this.send(frame)) this.underWay.set(chat, id);
  }

  /** The server has it, and so has the database: the next one. */
  settled(chat, id) {
    if (this.underWay.get(chat) === id) this.underWay.delete(chat);
    this.refusals.delete(chat);
    this.pump();
  }

  /** An `error` frame. False where it answers nothing of ours. */
  async failed(frame) {
    const [chat] = [...this.underWay].find(([, id]) => id === frame.re) ?? [];
    if (!chat) return false;
    this.underWay.delete(chat);
    if (frame.retryable) {
      this.pause(chat, frame);
      return true;
    }
    const why = plainWords(new Refused(frame.code, frame.message));
    await writing(['outbox'], async ({ outbox }) => {
      const row = await asked(outbox.index('id').get(frame.re));
      if (row) await asked(outbox.put({ ...row, state: 'failed', why }));
    });
    await publishOutbox();
    this.pump();
    return true;
  }

  pause(chat, frame) {
    const count = (this.refusals.get(chat) ?? 0) + 1;
    this.refusals.set(chat, count);
    const delay = frame.retry_after_ms ?? Math.min(PAUSE_MAX_MS, PAUSE_MS * 2 ** (count - 1));
    const reason = frame.code === 'rate_limited'
      ? 'That was a lot at once.' : 'The server is busy.';
    const timer = setTimeout(() => { this.paused.delete(chat); this.tellPauses(); this.pump(); }, delay);
    this.paused.set(chat, { text: `${reason} Sending goes on ${waiting(delay)}.`, timer });
    this.tellPauses();
  }

  tellPauses() {
    publish({ kind: 'pauses', pauses: [...this.paused].map(([chat, { text }]) => [chat, text]) });
  }

  stop() {
    for (const { timer } of this.paused.values()) clearTimeout(timer);
    this.paused.clear();
    this.tellPauses();
  }
}
