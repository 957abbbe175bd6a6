// The leading tab's work: the link, what comes over it into the database, and from there to all
// tabs. A message is acknowledged (`received`) when the database has it, not before.

import { asked, getMeta, putMeta, reading } from './database.js';
import { applyFrames, KEPT_FRAMES } from './entries.js';
import { forgetAllBut, forgetStale } from './forgetting.js';
import { refreshChat, takeInfos } from './chats.js';
import { get } from './rest.js';
import { listen, publish } from './bus.js';
import { Link } from './link.js';
import { plainWords } from './errors.js';
import { publishOutbox, Sender } from './outbox.js';
import { progress } from './record.js';
import { refreshProfile } from './people.js';
import { Watching } from './watching.js';

const FRAMES_PER_WRITE_MAX = 100;
const STORAGE_RETRY_MS = 10_000;
const CHATS_PER_PAGE = 200;
const CHAT_PAGES_MAX = 50;
const REFRESHED_CHATS = 50;
// A hello must fit a frame; cursors beyond that follow one by one.
const HELLO_BYTES_MAX = 48_000;
const CURSOR_BYTES = 22;
const PRIME_RETRY_MS = 3_000;
const TICKS_ASKED_MAX = 12;
// A group that one has left, a login that has ended: told elsewhere.
const QUIET_ERRORS = new Set(['not_member', 'not_found', 'unauthorized']);

export class Sync {
  constructor(session, ended) {
    this.session = session;
    this.inbox = [];
    this.draining = false;
    this.stopped = false;
    this.status = { state: 'connecting', retryAt: 0, since: Date.now() };
    this.sender = new Sender((frame) => this.link.send(frame));
    this.link = new Link(() => this.hello(), {
      frame: (frame) => this.frame(frame),
      welcome: (frame) => this.welcome(frame),
      state: (state, retryAt) => this.tell(state, retryAt),
      down: () => this.down(),
      ended: (code, reason) => ended(code, reason),
    });
    this.watching = new Watching((frame) => this.link.send(frame));
    this.deaf = [
      listen('flush', () => this.sender.pump()),
      listen('frame', ({ frame }) => this.link.send(frame)),
      listen('hurry', () => this.link.hurry()),
      listen('cut', () => this.link.cut()),
      listen('take-over', () => this.link.connect()),
      listen('tab-opened', () => this.greet()),
    ];
  }

  async start() {
    await publishOutbox();
    while (!this.stopped && !(await this.prime())) {
      await new Promise((resolve) => { setTimeout(resolve, PRIME_RETRY_MS); });
    }
    if (!this.stopped) this.link.start();
  }

  stop() {
    this.stopped = true;
    for (const stop of this.deaf) stop();
    this.watching.stop();
    this.sender.stop();
    this.link.stop();
  }

  /**
   * After a login: old history is paged on demand, so chats that are new here are taken as they
   * stand. What is here of an earlier login stays, unless the server tells of other chats.
   */
  async prime() {
    if (await getMeta('primed')) return true;
    try {
      const known = new Set();
      let before;
      for (let page = 0; page < CHAT_PAGES_MAX; page += 1) {
        const infos = await get('/v1/chats', { limit: CHATS_PER_PAGE, ...(before && { before }) });
        await forgetStale(infos);
        await takeInfos(infos, (record, info) => { record.applied ??= info.head; });
        const more = infos.some(({ chat }) => !known.has(chat));
        for (const { chat } of infos) known.add(chat);
        before = infos.at(-1)?.last?.time;
        if (infos.length < CHATS_PER_PAGE || !before) break;
        if (more) before += 1; // others may share the last one's time, but not a whole page
      }
      await forgetAllBut(known);
      await putMeta('primed', true);
      return true;
    } catch (error) {
      if (error.code !== 'unauthorized') this.tell('waiting', Date.now() + PRIME_RETRY_MS);
      if (!error.code) plainWords(error);
      return false;
    }
  }

  /** Where this device stands, from the database itself: what it has not kept comes again. */
  async hello() {
    await this.drained();
    const records = await reading(['chats'], (stores) => asked(stores.chats.getAll()));
    const known = records.filter((record) => record.applied !== null && !record.left);
    known.sort((one, other) => (other.last?.time ?? 0) - (one.last?.time ?? 0));
    const cursors = {};
    let bytes = 0;
    this.untold = [];
    for (const { chat, applied } of known) {
      bytes += chat.length + CURSOR_BYTES;
      if (bytes < HELLO_BYTES_MAX) cursors[chat] = applied;
      else this.untold.push([chat, applied]);
    }
    return { type: 'hello', token: this.session.token, cursors };
  }

  welcome(frame) {
    publish({ kind: 'limits', limits: frame.limits, durable: frame.durable });
    this.tell('syncing', 0);
    for (const [chat, seq] of this.untold) this.link.send({ type: 'received', chat, seq });
    this.watching.again();
    this.sender.pump();
  }

  down() {
    this.sender.reset();
    this.inbox.length = 0;
    publish({ kind: 'presence-lost' });
  }

  tell(state, retryAt) {
    const since = state === 'live' || this.status.state === 'live' ? Date.now() : this.status.since;
    this.status = { state, retryAt, since };
    publish({ kind: 'link', link: this.status });
  }

  /** A tab has just opened: it knows nothing yet of what is not in the database. */
  greet() {
    publish({ kind: 'link', link: this.status });
    this.watching.again();
    this.sender.tellPauses();
  }

  frame(frame) {
    if (KEPT_FRAMES.has(frame.type)) {
      this.inbox.push(frame);
      this.drain();
    } else if (frame.type === 'synced') {
      this.synced();
    } else if (frame.type === 'typing' || frame.type === 'presence') {
      const { type: kind, ...rest } = frame;
      publish({ kind, ...rest });
    } else if (frame.type === 'error') {
      this.error(frame);
    }
    // Other types are of a later version of the protocol: not for us.
  }

  async error(frame) {
    if (await this.sender.failed(frame)) return;
    if (!QUIET_ERRORS.has(frame.code)) console.warn('refused', frame.code, frame.message);
  }

  async drain() {
    if (this.draining) return;
    this.draining = true;
    try {
      while (this.inbox.length) await this.drainSome();
    } finally {
      this.draining = false;
    }
  }

  async drainSome() {
    const frames = this.inbox.slice(0, FRAMES_PER_WRITE_MAX);
    let change;
    try {
      change = await applyFrames(frames, this.session.user);
    } catch (error) {
      // Not acknowledged: the server keeps them for us. Show them at least.
      publish({ kind: 'storage', text: plainWords(error) });
      const items = frames.flatMap((frame) => frame.items ?? (frame.type === 'message' ? [frame] : []));
      publish({ kind: 'messages', items });
      await new Promise((resolve) => { setTimeout(resolve, STORAGE_RETRY_MS); });
      return;
    }
    if (this.inbox[0] === frames[0]) this.inbox.splice(0, frames.length);
    this.announce(change);
  }

  announce(change) {
    publish({ kind: 'storage', text: '' });
    if (change.records.length) publish({ kind: 'chats', records: change.records });
    if (change.items.length) publish({ kind: 'messages', items: change.items });
    if (change.outbox) publishOutbox();
    for (const [chat, id] of change.settled) this.sender.settled(chat, id);
    for (const [chat, seq] of change.pushed) this.link.send({ type: 'received', chat, seq });
    for (const chat of change.unsure) refreshChat(chat).catch(() => {});
  }

  async drained() {
    while (this.draining) await new Promise((resolve) => { setTimeout(resolve, 20); });
  }

  async synced() {
    await this.drained();
    this.tell('live', 0);
    try {
      await this.refresh();
      await refreshProfile();
    } catch (error) {
      if (!error.code) plainWords(error);
    }
  }

  /** What is not in the log: names, what other devices read; and cursors of the first chats. */
  async refresh() {
    const infos = await get('/v1/chats', { limit: REFRESHED_CHATS });
    const records = await takeInfos(infos);
    for (const [n, record] of records.entries()) {
      if (record.read > infos[n].read && !record.left) {
        this.link.send({ type: 'read', chat: record.chat, seq: Math.min(record.read, record.head) });
      }
    }
    const me = this.session.user;
    const mine = records.filter((record) => record.last?.from === me
      && progress(record, record.last.seq, me) !== 'read').slice(0, TICKS_ASKED_MAX);
    for (const record of mine) await refreshChat(record.chat);
  }
}
