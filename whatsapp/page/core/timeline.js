// The part of one open chat that is in memory: a run of entries without holes, which grows at
// either end as one scrolls, plus what is still in the outbox. The view draws a part of it.

import { batch, signal } from '../html.js';
import { after, before, fetchNewest } from './history.js';
import { listen } from './bus.js';
import { plainWords } from './errors.js';
import { recordOf } from './chats.js';

// A wider hole is not closed at once, but when one scrolls there.
export const HOLE_MAX = 30;

export class Timeline {
  constructor(chat) {
    this.chat = chat;
    this.items = signal([]);
    this.first = 1; // seqs from `first` to `last` are in `items`, void ones too
    this.last = 0;
    this.more = signal(false); // there are older ones
    this.newest = signal(true); // `items` goes up to the end of the chat
    this.loading = signal('first'); // '' | first | older | newer
    this.trouble = signal('');
    this.target = signal(null); // {seq, key}: to be shown and marked
    this.endWanted = signal(0); // counts how often the user has sent something
    this.generation = 0;
    this.stale = false; // what is shown is not the server's any more
    this.deaf = [
      listen('messages', ({ items }) => this.came(items)),
      listen('chats', ({ records }) => this.follow(records)),
      listen('chats-gone', ({ gone }) => { if (gone.includes(chat)) this.stale = true; }),
    ];
  }

  /** The user has written: whatever is in view, go to the end. */
  showEnd() { this.endWanted.value += 1; }

  close() {
    this.generation += 1;
    for (const stop of this.deaf) stop();
  }

  /** Show the end of the chat. */
  async openEnd() {
    const { head } = recordOf(this.chat);
    await this.replace(async () => {
      if (head === 0) return { items: [], first: 1, more: false, last: 0 };
      const page = await before(this.chat, head + 1).catch((error) => {
        if (error.code === 'bad_request') return fetchNewest(this.chat);
        throw error;
      });
      return { ...page, last: Math.max(head, page.items.at(-1)?.seq ?? 0) };
    });
  }

  /** Show the surroundings of one entry; `mark` it, too. */
  async openAt(seq, mark = true) {
    if (mark && seq >= this.first && seq <= this.last && this.items.peek().length) {
      this.target.value = { seq, key: {} };
      return;
    }
    await this.replace(async () => {
      const older = await before(this.chat, seq + 1);
      const newer = await after(this.chat, seq);
      return { ...older, items: [...older.items, ...newer.items], last: Math.max(seq, newer.last) };
    });
    if (mark && !this.trouble.peek()) this.target.value = { seq, key: {} };
  }

  async replace(load) {
    const generation = (this.generation += 1);
    this.loading.value = 'first';
    this.trouble.value = '';
    try {
      const page = await load();
      if (generation !== this.generation) return;
      batch(() => {
        this.first = page.first;
        this.last = page.last;
        this.items.value = page.items;
        this.more.value = page.more;
        this.checkEnd();
      });
    } catch (error) {
      if (generation === this.generation) this.trouble.value = plainWords(error);
    } finally {
      if (generation === this.generation) this.loading.value = '';
    }
    // What came while we were reading is in the database now.
    if (generation === this.generation && this.last) this.fill();
  }

  checkEnd() {
    this.newest.value = this.last >= recordOf(this.chat).head;
  }

  older() {
    if (!this.more.peek()) return;
    return this.extend('older', async () => {
      const page = await before(this.chat, this.first);
      return () => {
        this.first = page.first;
        this.items.value = [...page.items, ...this.items.peek()];
        this.more.value = page.more;
      };
    });
  }

  newer() {
    if (this.newest.peek()) return;
    return this.extend('newer', async () => {
      const page = await after(this.chat, this.last);
      return () => {
        const news = page.items.filter((item) => item.seq > this.last);
        if (!news.length && page.last <= this.last) { this.newest.value = true; return; }
        this.last = Math.max(this.last, page.last);
        this.items.value = [...this.items.peek(), ...news];
        this.checkEnd();
      };
    });
  }

  async extend(what, load) {
    if (this.loading.peek()) return;
    const { generation } = this;
    this.loading.value = what;
    try {
      const take = await load();
      if (generation === this.generation) batch(() => { take(); this.trouble.value = ''; });
    } catch (error) {
      if (generation === this.generation) this.trouble.value = plainWords(error);
    } finally {
      if (generation === this.generation) this.loading.value = '';
    }
  }

  /** Entries that were just kept: the next ones go to the end; others are paged. */
  came(items) {
    const mine = items.filter((item) => item.chat === this.chat);
    if (!mine.length || this.loading.peek() === 'first') return;
    const news = [];
    for (const item of mine) {
      if (item.seq === this.last + 1) {
        news.push(item);
        this.last = item.seq;
      }
    }
    if (news.length) this.items.value = [...this.items.peek(), ...news];
    this.checkEnd();
    if (!news.length) this.fill();
  }

  follow(records) {
    if (!records.some((record) => record.chat === this.chat)) return;
    if (this.stale) {
      this.stale = false;
      this.openEnd();
      return;
    }
    this.checkEnd();
    if (this.loading.peek() !== 'first') this.fill();
  }

  /** A hole right behind what is shown (our own message was faster than somebody's): close it. */
  fill() {
    if (!this.newest.peek() && recordOf(this.chat).head - this.last < HOLE_MAX) this.newer();
  }
}
