// The list of chats: the newest first, with the last message, its time and what is unread.

import { html, useRef } from '../html.js';
import { ordered, queued } from '../core/chats.js';
import { drafts } from '../core/drafts.js';
import { go, openChat, showChat } from '../core/route.js';
import { link, me } from '../core/state.js';
import { nameOf, presence, profile } from '../core/people.js';
import { minute, shortTime } from '../core/clock.js';
import { progress } from '../core/record.js';
import { typers } from '../core/attention.js';
import { lastLine } from './events.js';
import { Avatar, Empty, IconButton, Spinner } from './parts.js';
import { Gear, Mark, Plus, Search } from './icons.js';
import { Ticks } from './ticks.js';

export function ChatList() {
  const list = useRef(null);
  const lines = ordered.value;
  minute.value; // times change with the day
  const arrows = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = [...list.current.querySelectorAll('a')];
    all[Math.min(all.length - 1, Math.max(0, all.indexOf(document.activeElement) + step))]?.focus();
  };
  return html`<header class="bar home-bar">
      <${Mark} size=${30} /><h1 class="bar-title brand">Tidings</h1>
      <${IconButton} label="Search messages" icon=${Search} onClick=${() => go('/search')} />
      <${IconButton} label="New chat" icon=${Plus} onClick=${() => go('/new')} />
      <${IconButton} label="Settings" icon=${Gear} onClick=${() => go('/settings')} />
    </header>
    <nav class="scroll" aria-label="List of chats" onKeyDown=${arrows}>
      ${lines.length ? html`<ul class="chats" ref=${list}>
        ${lines.map(({ record, time }) => html`<${Line} key=${record.chat} record=${record} time=${time} />`)}
      </ul>` : html`<${NoChats} />`}
    </nav>`;
}

function NoChats() {
  if (link.value.state === 'connecting' || link.value.state === 'syncing') {
    return html`<div class="middle"><${Spinner} label="Loading your chats" /></div>`;
  }
  return html`<${Empty} title="No chats yet"
    text=${`People find you as “${profile.value?.user ?? me()}”.`}>
    <button type="button" class="main-button" onClick=${() => go('/new')}>Write to somebody</button>
  <//>`;
}

export const titleOf = (record) => {
  if (record.kind === 'group') return record.title;
  return record.with === me() ? `${nameOf(me())} (you)` : nameOf(record.with);
};

function Line({ record, time }) {
  const { chat, unread } = record;
  const title = titleOf(record);
  const online = record.kind === 'direct' && presence.value.get(record.with)?.online && record.with !== me();
  const press = (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    showChat(chat);
  };
  return html`<li>
    <a class="chat-line" href="#/c/${encodeURIComponent(chat)}" onClick=${press} data-chat=${chat}
      aria-current=${openChat.value === chat ? 'true' : undefined}>
      <${Avatar} id=${record.with ?? chat} name=${title} group=${record.kind === 'group'} online=${online} />
      <span class="chat-text">
        <span class="chat-top">
          <span class="chat-title" dir="auto">${title}</span>
          <time class="chat-time ${unread ? 'fresh' : ''}">${time ? shortTime(time) : ''}</time>
        </span>
        <span class="chat-bottom">
          <${Last} record=${record} />
          ${unread > 0 && html`<span class="badge" aria-label="${unread} unread">${unread >= 999 ? '999+' : unread}</span>`}
        </span>
      </span>
    </a></li>`;
}

function Last({ record }) {
  const { chat } = record;
  const typing = typers.value.get(chat);
  if (typing) {
    return html`<span class="chat-last typing">${record.kind === 'group' ? `${nameOf(typing[0])} is ` : ''}typing …</span>`;
  }
  const draft = openChat.value === chat ? null : drafts.value.get(chat);
  if (draft?.text) {
    return html`<span class="chat-last" dir="auto"><span class="draft">Draft: </span>${draft.text.slice(0, 200)}</span>`;
  }
  const waiting = queued.value.get(chat)?.at(-1);
  if (waiting) {
    return html`<${Ticks} state=${waiting.state} /><span class="chat-last" dir="auto">${waiting.text.slice(0, 200)}</span>`;
  }
  const { last } = record;
  return html`${last?.kind === 'text' && last.from === me()
    && html`<${Ticks} state=${progress(record, last.seq, me())} />`}
    <span class="chat-last" dir="auto">${lastLine(record)}</span>`;
}
