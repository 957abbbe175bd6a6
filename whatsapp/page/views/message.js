// One message: what it answers, its text, time and ticks; and what can be done with it.

import { html, useEffect, useRef, useState } from '../html.js';
import { at as path, get } from '../core/rest.js';
import { dateAndTime, timeOfDay } from '../core/clock.js';
import { deleteRow, retryRow } from '../core/outbox.js';
import { me, say } from '../core/state.js';
import { nameOf, youOr } from '../core/people.js';
import { one } from '../core/history.js';
import { menu, showDialog } from './dialogs.js';
import { eventText } from './events.js';
import { Bin, Copy, Down, Info, Reply, Retry } from './icons.js';
import { MessageInfo } from './message_info.js';
import { tint } from './parts.js';
import { isBigEmoji, linked } from './text.js';
import { Ticks } from './ticks.js';

const LONG_PRESS_MS = 450;
const FOLDED_CHARACTERS = 1_200;
const FOLDED_LINES = 24;

export const EventRow = ({ item }) => html`<p class="event"><span dir="auto">${eventText(item)}</span></p>`;

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say('Copied.');
  } catch {
    say('This browser did not allow copying.');
  }
}

function actions(row, record, onReply) {
  const { item, state, seq } = row;
  return [
    seq > 0 && onReply && { label: 'Reply', icon: Reply, act: () => onReply(item) },
    { label: 'Copy text', icon: Copy, act: () => copy(item.text) },
    seq > 0 && item.from === me() && {
      label: 'Info', icon: Info,
      act: () => showDialog((dialog) => html`<${MessageInfo} ...${dialog} chat=${record.chat} item=${item} />`),
    },
    state === 'failed' && { label: 'Try again', icon: Retry, act: () => retryRow(item.n) },
    (state === 'failed' || state === 'queued') && { label: 'Delete', icon: Bin, danger: true, act: () => deleteRow(item.n) },
  ];
}

/** A long press, where there is no mouse. */
function useLongPress(act) {
  const timer = useRef(0);
  const end = () => clearTimeout(timer.current);
  return {
    onTouchStart: () => { end(); timer.current = setTimeout(act, LONG_PRESS_MS); },
    onTouchEnd: end, onTouchMove: end, onTouchCancel: end,
  };
}

export function Message({ row, record, timeline, onReply }) {
  const { item, state, first } = row;
  const own = item.from === me() || row.seq === 0;
  const openMenu = () => menu('Message', actions(row, record, onReply));
  const press = useLongPress(openMenu);
  const named = record.kind === 'group' && !own && first;
  return html`<article class="message ${own ? 'own' : 'other'} ${first ? 'first' : ''} ${state ?? ''}" ...${press}
    onContextMenu=${(event) => {
      if (event.target.closest('a') || String(getSelection())) return;
      event.preventDefault();
      openMenu();
    }}>
    <div class="bubble">
      ${named ? html`<p class="sender tint-${tint(item.from)}" dir="auto">${nameOf(item.from)}</p>`
    : html`<span class="unseen">${own ? 'You' : nameOf(item.from)}: </span>`}
      ${item.reply_to && html`<${Quote} chat=${record.chat} seq=${item.reply_to} timeline=${timeline} />`}
      <${Text} text=${item.text}>
        <span class="meta">
          <time datetime=${new Date(item.time).toISOString()} title=${dateAndTime(item.time)}>${timeOfDay(item.time)}</time>
          ${own && html`<${Ticks} state=${state} />`}
        </span>
      <//>
      <button type="button" class="message-more" tabindex="-1" aria-label="Message options"
        aria-haspopup="dialog" onClick=${openMenu}><${Down} size=${18} /></button>
    </div>
    ${state === 'failed' && html`<p class="why">${item.why}${' '}
      <button type="button" class="text-button" onClick=${() => retryRow(item.n)}>Try again</button></p>`}
  </article>`;
}

function Text({ text, children }) {
  const [unfolded, setUnfolded] = useState(false);
  const long = text.length > FOLDED_CHARACTERS * 1.3 || text.split('\n', FOLDED_LINES * 2).length > FOLDED_LINES * 1.5;
  const folded = long && !unfolded;
  const shown = folded ? text.split('\n').slice(0, FOLDED_LINES).join('\n').slice(0, FOLDED_CHARACTERS) : text;
  return html`<div class="text ${isBigEmoji(text) ? 'big' : ''}" dir="auto">
    <span class="words" data-testid="message-text">${linked(shown)}${folded && '…'}</span>
    ${folded && html`<button type="button" class="text-button more-text" onClick=${() => setUnfolded(true)}>Read more</button>`}
    ${children}</div>`;
}

/** What a message answers; pressed, it leads there. */
function Quote({ chat, seq, timeline }) {
  const item = useEntry(chat, seq, timeline);
  const from = item?.from;
  return html`<button type="button" class="quote ${from ? `tint-${tint(from)}` : ''}" onClick=${() => timeline.openAt(seq)}
    title="Go to this message">
    <span class="quote-from" dir="auto"><span class="unseen">Answers </span>${from ? youOr(from) : ''}</span>
    <span class="quote-text" dir="auto">${item === undefined ? '…' : item?.text?.slice(0, 300) ?? 'Message not available'}</span>
  </button>`;
}

/** An entry, wherever it is: in view, in the database, at the server. null: not to be had. */
function useEntry(chat, seq, timeline) {
  const near = timeline?.items.value.find((item) => item.seq === seq);
  const [found, setFound] = useState(undefined);
  useEffect(() => {
    if (near) return undefined;
    let wanted = true;
    fetchEntry(chat, seq).catch(() => null).then((entry) => { if (wanted) setFound(entry); });
    return () => { wanted = false; };
  }, [chat, seq, Boolean(near)]);
  return near ?? found;
}

async function fetchEntry(chat, seq) {
  const kept = await one(chat, seq);
  if (kept) return kept;
  const { messages } = await get(path`/v1/chats/${chat}/messages`, { before: seq + 1, limit: 1 });
  return messages.find((item) => item.seq === seq) ?? null;
}
