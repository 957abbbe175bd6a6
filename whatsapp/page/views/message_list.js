// The messages of a chat as one scrolls through them. Only a stretch of `DRAWN_MAX` rows is drawn,
// and moves along. What is at the top of the view stays there when rows come or go around it; at
// the end of the chat, the end is kept in view.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../html.js';
import { dayName, dayOf, minute } from '../core/clock.js';
import { markRead } from '../core/attention.js';
import { me } from '../core/state.js';
import { progress, reach, UNREAD_MAX } from '../core/record.js';
import { HOLE_MAX } from '../core/timeline.js';
import { queued } from '../core/chats.js';
import { Down } from './icons.js';
import { Empty, Spinner, Trouble } from './parts.js';
import { EventRow, Message } from './message.js';

const DRAWN_MAX = 120;
const STEP = 40;
const NEAR_PX = 900;
const END_PX = 60;
const SAME_BREATH_MS = 5 * 60_000;
const READ_AFTER_MS = 250;
const MARKED_MS = 2_200;

const keyOf = (item) => `${item.from ?? me()}/${item.id}`;

/** Entries and waiting texts as rows to draw, void ones left out. */
function rowsOf(items, waiting, record, start) {
  const rows = [];
  const ownIds = new Set(items.slice(-200).filter((item) => item.from === me()).map((item) => item.id));
  const far = reach(record, me());
  let unreadDrawn = !start.unread;
  const add = (row) => {
    const before = rows.at(-1);
    row.newDay = !before || dayOf(before.time) !== dayOf(row.time);
    row.first = row.newDay || row.event || before.event || before.from !== row.from
      || row.time - before.time > SAME_BREATH_MS;
    rows.push(row);
  };
  for (const item of items) {
    if (item.kind === 'void') continue;
    const row = { key: keyOf(item), item, seq: item.seq, from: item.from, time: item.time, event: item.kind !== 'text' };
    if (item.from === me() && !row.event) row.state = progress(record, item.seq, me(), far);
    if (!unreadDrawn && item.seq > start.read && item.from !== me()) { row.unread = start.unread; unreadDrawn = true; }
    add(row);
  }
  for (const item of waiting) {
    if (ownIds.has(item.id)) continue;
    add({ key: `${me()}/${item.id}`, item, seq: 0, from: me(), time: item.time, state: item.state, event: false });
  }
  return rows;
}

const unreadText = (count) =>
  (count === 1 ? '1 unread message' : `${count >= UNREAD_MAX ? `${UNREAD_MAX}+` : count} unread messages`);

export function MessageList({ timeline, record, start, onReply }) {
  const items = timeline.items.value;
  const waiting = queued.value.get(record.chat) ?? [];
  const newest = timeline.newest.value;
  const loading = timeline.loading.value;
  const today = minute.value;
  // Not behind a gap; but one that is being closed is none.
  const near = newest || record.head - timeline.last < HOLE_MAX;
  const rows = useMemo(() => rowsOf(items, near ? waiting : [], record, start),
    [items, waiting, near, record.members, start, today]);
  const view = useView(timeline, rows, record, loading);
  const drawn = rows.slice(view.from, view.to);

  return html`<div class="messages-place">
    <div class="messages scroll" ref=${view.box} tabindex="0" role="region" aria-label="Messages"
      onScroll=${view.scrolled} onKeyDown=${view.keys}>
      <div class="messages-inside" ref=${view.inside}>
        ${loading === 'older' && html`<div class="edge"><${Spinner} label="Loading older messages" /></div>`}
        <${Trouble} text=${timeline.trouble.value} onRetry=${() =>
    (rows.length ? timeline.older() ?? timeline.newer() : timeline.openEnd())} />
        ${!rows.length && loading === 'first' && html`<div class="middle"><${Spinner} label="Loading messages" /></div>`}
        ${!rows.length && !loading && !timeline.trouble.value && html`<${Empty} title="No messages here yet" text="Say hello." />`}
        <ol class="rows">
          ${drawn.map((row) => html`<li key=${row.key} class="line" data-key=${row.key} data-seq=${row.seq || undefined} tabindex="-1">
            ${row.newDay && html`<p class="day"><span>${dayName(row.time)}</span></p>`}
            ${row.unread && html`<p class="unread-line" data-testid="unread-line"><span>
              ${unreadText(row.unread)}</span></p>`}
            ${row.event ? html`<${EventRow} item=${row.item} />`
    : html`<${Message} row=${row} record=${record} timeline=${timeline} onReply=${onReply} />`}
          </li>`)}
        </ol>
        ${loading === 'newer' && html`<div class="edge"><${Spinner} label="Loading newer messages" /></div>`}
      </div>
    </div>
    ${view.away && html`<button type="button" class="to-end" onClick=${view.toEnd}
      aria-label=${record.unread ? `To the newest message, ${record.unread} unread` : 'To the newest message'}>
      <${Down} />${record.unread > 0 && html`<span class="badge">${record.unread}</span>`}</button>`}
  </div>`;
}

/** Which rows are drawn and where the view stands. */
function useView(timeline, rows, record, loading) {
  const box = useRef(null);
  const inside = useRef(null);
  // `top`: key of the first row that is drawn, or null: the last rows are.
  const at = useRef({ top: null, stick: true, anchor: null, placed: false, rows }).current;
  const [, redraw] = useState(0);
  const [away, setAway] = useState(false);
  at.rows = rows;
  at.newest = timeline.newest.peek();
  at.head = record.head;

  let from = at.top === null ? -1 : rows.findIndex((row) => row.key === at.top);
  if (from < 0) from = Math.max(0, rows.length - DRAWN_MAX);
  const to = Math.min(rows.length, from + DRAWN_MAX);
  Object.assign(at, { from, to });

  const self = useMemo(() => new View(timeline, box, at, () => redraw((n) => n + 1), setAway), [timeline]);
  // Where one looks right before the rows change: a scroll may be newer than its event.
  if (at.placed && !at.stick && box.current) self.remember();
  useLayoutEffect(() => {
    if (rows.length && loading !== 'first' && !at.placed) self.place();
    else self.keep();
    self.look();
  });
  useEffect(() => {
    const observer = new ResizeObserver(() => self.keep());
    observer.observe(box.current);
    observer.observe(inside.current);
    const seen = () => self.look();
    addEventListener('focus', seen);
    document.addEventListener('visibilitychange', seen);
    const stops = [
      timeline.target.subscribe((target) => { if (target) self.aim(target.seq); }),
      timeline.endWanted.subscribe((count) => { if (count) self.end(); }),
    ];
    return () => {
      observer.disconnect();
      removeEventListener('focus', seen);
      document.removeEventListener('visibilitychange', seen);
      clearTimeout(at.reading);
      for (const stop of stops) stop();
    };
  }, [self]);
  return { from, to, box, inside, away, scrolled: self.scrolled, keys: self.keys, toEnd: self.toEnd };
}

class View {
  constructor(timeline, box, at, redraw, setAway) {
    Object.assign(this, { timeline, box, at, redraw, setAway });
    this.scrolled = () => this.scroll();
    this.keys = (event) => this.key(event);
    this.toEnd = () => this.end();
  }

  lines() { return [...this.box.current.querySelectorAll('.line')]; }

  /** The first sight: the end, or the first unread message. */
  place() {
    const { at } = this;
    at.placed = true;
    const unread = this.box.current.querySelector('.unread-line');
    const index = at.rows.findIndex((row) => row.unread);
    if (index >= 0 && !unread && !this.timeline.target.peek()) {
      at.top = at.rows[Math.max(0, index - STEP)].key;
      at.placed = false;
      this.redraw();
      return;
    }
    if (this.timeline.target.peek()) { this.aim(this.timeline.target.peek().seq); return; }
    if (unread) {
      at.stick = false;
      this.box.current.scrollTop += unread.getBoundingClientRect().top - this.box.current.getBoundingClientRect().top - 60;
      this.remember();
      this.scroll();
    } else {
      at.stick = this.timeline.newest.peek();
      this.keep();
    }
  }

  /** After rows came or went: what one looks at stays where it is. */
  keep() {
    const { at, box: { current: box } } = this;
    if (!at.placed || !box) return;
    if (at.stick) { box.scrollTop = box.scrollHeight; return; }
    if (!at.anchor) return;
    const line = box.querySelector(`[data-key="${CSS.escape(at.anchor.key)}"]`);
    if (!line) return;
    const moved = line.getBoundingClientRect().top - box.getBoundingClientRect().top - at.anchor.offset;
    if (Math.abs(moved) >= 1) box.scrollTop += moved;
  }

  remember() {
    const top = this.box.current.getBoundingClientRect().top;
    const line = this.lines().find((one) => one.getBoundingClientRect().bottom > top);
    this.at.anchor = line ? { key: line.dataset.key, offset: line.getBoundingClientRect().top - top } : null;
  }

  scroll() {
    const { at, timeline, box: { current: box } } = this;
    if (!at.placed || !box) return;
    const below = box.scrollHeight - box.scrollTop - box.clientHeight;
    const atEnd = at.to === at.rows.length && timeline.newest.peek();
    at.stick = atEnd && below < END_PX;
    this.setAway(!atEnd || below > 400);
    this.remember();
    if (box.scrollTop < NEAR_PX) {
      if (at.from > 0) this.moveTo(at.from - STEP);
      else timeline.older();
    } else if (below < NEAR_PX) {
      if (at.to < at.rows.length) this.moveTo(at.from + STEP);
      else if (!timeline.newest.peek()) timeline.newer();
      else if (at.stick && at.top !== null && at.rows.length - at.from <= DRAWN_MAX) at.top = null;
    }
    this.look();
  }

  moveTo(index) {
    const { at } = this;
    const from = Math.max(0, Math.min(index, at.rows.length - DRAWN_MAX));
    if (from === at.from) return;
    at.top = at.rows[from].key;
    at.stick = false;
    this.redraw();
  }

  /** Bring one message to the middle, and mark it for a moment. */
  aim(seq) {
    const { at } = this;
    const index = at.rows.findIndex((row) => row.seq === seq);
    if (index < 0 || !this.box.current) return;
    at.placed = true;
    at.stick = false;
    at.anchor = null;
    at.top = at.rows[Math.max(0, Math.min(index - DRAWN_MAX / 2, at.rows.length - DRAWN_MAX))]?.key ?? null;
    this.redraw();
    requestAnimationFrame(() => {
      const line = this.box.current?.querySelector(`[data-seq="${seq}"]`);
      if (!line) return;
      line.scrollIntoView({ block: 'center' });
      line.classList.add('marked');
      line.focus({ preventScroll: true });
      setTimeout(() => line.classList.remove('marked'), MARKED_MS);
      this.scroll();
    });
  }

  async end() {
    if (!this.timeline.newest.peek()) await this.timeline.openEnd();
    Object.assign(this.at, { top: null, stick: true, anchor: null });
    this.setAway(false);
    this.redraw();
  }

  /** What is in view now has been read, if somebody is looking. */
  look() {
    const { at } = this;
    clearTimeout(at.reading);
    at.reading = setTimeout(() => {
      const box = this.box.current;
      if (!box || !at.placed || document.hidden || !document.hasFocus()) return;
      if (at.stick) { if (at.head) markRead(this.timeline.chat, at.head); return; }
      const bottom = box.getBoundingClientRect().bottom;
      const seen = this.lines().filter((line) => line.dataset.seq && line.getBoundingClientRect().bottom <= bottom + 8).at(-1);
      if (seen) markRead(this.timeline.chat, Number(seen.dataset.seq));
    }, READ_AFTER_MS);
  }

  /** Arrows go from message to message, Enter opens what can be done with it. */
  key(event) {
    const line = document.activeElement?.closest('.line');
    const lines = this.lines();
    if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
      const step = event.key === 'ArrowUp' ? -1 : 1;
      const next = line ? lines[lines.indexOf(line) + step] : lines.at(-1);
      if (next) { event.preventDefault(); next.focus(); next.scrollIntoView({ block: 'nearest' }); }
    } else if (event.key === 'End') {
      event.preventDefault();
      this.end();
    } else if ((event.key === 'Enter' || event.key === 'ContextMenu') && line && document.activeElement === line) {
      event.preventDefault();
      line.querySelector('.message-more')?.click();
    }
  }
}
