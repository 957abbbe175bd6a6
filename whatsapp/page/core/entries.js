// Frames that change what is kept, applied to the database in one transaction: pushed messages,
// our own that were taken, receipts, cursors of our other devices.

import { asked, rangeOf, writing } from './database.js';
import { loadRecord, saveRecord } from './chats.js';
import { runOf } from './runs.js';
import { takeEntry, takeReceipt } from './record.js';

const STORES = ['chats', 'messages', 'outbox'];

export const KEPT_FRAMES = new Set(['message', 'messages', 'sent', 'receipt', 'cursor']);

/** Apply `frames` in their order. What changed, to be published and acknowledged. */
export function applyFrames(frames, me) {
  return writing(STORES, async (stores) => {
    const change = new Change(stores, me);
    for (const frame of frames) await change[frame.type](frame);
    for (const record of change.dirty) await saveRecord(stores, record);
    return {
      records: [...change.dirty],
      items: change.items,
      pushed: [...change.pushed].map((chat) => [chat, change.records.get(chat).applied]),
      settled: change.settled,
      outbox: change.outbox,
      unsure: [...change.unsure],
    };
  });
}

class Change {
  constructor(stores, me) {
    this.stores = stores;
    this.me = me;
    this.records = new Map();
    this.dirty = new Set();
    this.items = [];
    this.pushed = new Set();
    this.settled = []; // [chat, id] of our messages that the server has
    this.outbox = false; // it changed
    this.unsure = new Set(); // chats to ask the server about
  }

  async record(chat) {
    if (!this.records.has(chat)) this.records.set(chat, await loadRecord(this.stores, chat));
    return this.records.get(chat);
  }

  async message({ type: _, ...item }) {
    const record = await this.record(item.chat);
    if (record.rev === 0 || (item.kind !== 'text' && item.kind !== 'void')) this.unsure.add(item.chat);
    if (item.from === this.me && item.id) await this.take(item.chat, item.id);
    takeEntry(record, item, this.me, true);
    await this.keep(record, item);
    this.pushed.add(item.chat);
  }

  async messages({ items }) {
    for (const item of items) await this.message(item);
  }

  async sent({ id, chat, seq, time }) {
    const row = await this.take(chat, id);
    if (!row) {
      // The push of it was here first; or the user deleted it too late, and it is to be fetched.
      this.unsure.add(chat);
      return;
    }
    const record = await this.record(chat);
    if (record.rev === 0) this.unsure.add(chat);
    const item = { chat, seq, id, from: this.me, time, kind: 'text', text: row.text };
    if (row.reply_to) item.reply_to = row.reply_to;
    takeEntry(record, item, this.me, false);
    await this.keep(record, item);
  }

  async receipt(frame) {
    const record = await this.record(frame.chat);
    if (record.rev === 0) return;
    if (!record.members && record.kind === 'group') this.unsure.add(frame.chat);
    if (takeReceipt(record, frame, this.me)) this.dirty.add(record);
  }

  async cursor({ chat, read }) {
    const record = await this.record(chat);
    if (record.rev === 0 || read <= record.read) return;
    record.read = read;
    const unread = await this.unread(record);
    if (unread === null) this.unsure.add(chat);
    else record.unread = unread;
    this.dirty.add(record);
  }

  async unread(record) {
    if (record.read >= record.head) return 0;
    const run = runOf(record.runs, record.head);
    if (!run || run[0] > record.read + 1) return null;
    const rest = await asked(this.stores.messages.getAll(rangeOf(record.chat, record.read + 1, record.head)));
    return rest.filter((item) => item.from !== this.me && item.kind !== 'void').length;
  }

  async keep(record, item) {
    await asked(this.stores.messages.put(item));
    this.dirty.add(record);
    this.items.push(item);
  }

  async take(chat, id) {
    this.settled.push([chat, id]);
    const row = await asked(this.stores.outbox.index('id').get(id));
    if (!row || row.chat !== chat) return null;
    await asked(this.stores.outbox.delete(row.n));
    this.outbox = true;
    return row;
  }
}
