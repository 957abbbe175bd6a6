// One chat: its head, its messages, the field to write in.

import { html, useEffect, useMemo, useRef, useState } from '../html.js';
import { recordOf, refreshChat } from '../core/chats.js';
import { Timeline } from '../core/timeline.js';
import { back, chatPath, go, jump, openChat } from '../core/route.js';
import { link, me } from '../core/state.js';
import { lastSeen, minute } from '../core/clock.js';
import { listen } from '../core/bus.js';
import { nameOf, presence, want } from '../core/people.js';
import { typers } from '../core/attention.js';
import { whyMute } from '../core/record.js';
import { titleOf } from './chat_list.js';
import { Banner } from './banner.js';
import { Avatar, IconButton } from './parts.js';
import { Back, Search } from './icons.js';
import { Composer } from './composer.js';
import { MessageList } from './message_list.js';
import { eventText } from './events.js';
import { searchScope } from './search.js';

export function Conversation({ chat }) {
  const record = recordOf(chat);
  const live = link.value.state === 'live';
  const [replyTo, setReplyTo] = useState(null);
  // Where reading stopped before: a line is drawn there, and stays while the chat is open.
  const [start, setStart] = useState(() => ({ read: record.read, unread: record.unread }));
  const timeline = useMemo(() => new Timeline(chat), [chat]);
  useEffect(() => {
    const aim = jump.peek();
    if (aim?.chat === chat) { jump.value = null; timeline.openAt(aim.seq); }
    else if (start.unread && record.head - start.read > 50) timeline.openAt(start.read + 1, false);
    else timeline.openEnd();
    return () => timeline.close();
  }, [timeline]);
  useEffect(() => jump.subscribe((aim) => {
    if (aim?.chat === chat) { jump.value = null; timeline.openAt(aim.seq); }
  }), [timeline]);
  // Members and their cursors are not in the log: ask whenever there may be news.
  useEffect(() => { if (live && record.rev) refreshChat(chat).catch(() => {}); }, [chat, live, record.rev === 0]);
  useEffect(() => { if (record.kind === 'direct') want(record.with); }, [chat]);

  const mute = whyMute(record);
  return html`<div class="conversation">
    <${Head} record=${record} />
    <div class="phone-only"><${Banner} /></div>
    <${MessageList} timeline=${timeline} record=${record} start=${start} onReply=${mute ? null : setReplyTo} />
    ${mute ? html`<p class="mute">${mute}</p>`
    : html`<${Composer} chat=${chat} replyTo=${replyTo} onReply=${setReplyTo} timeline=${timeline}
      onSent=${() => setStart({ read: 0, unread: 0 })} />`}
    <${Spoken} chat=${chat} />
  </div>`;
}

function Head({ record }) {
  const title = titleOf(record);
  const leave = () => { openChat.value = ''; back('/'); };
  return html`<header class="bar chat-bar">
    <${IconButton} class="phone-only" label="Back to chats" icon=${Back} onClick=${leave} />
    <h1 class="chat-heading"><button type="button" class="chat-head" data-testid="chat-head" title="Show details"
      onClick=${() => go(chatPath(record.chat, '/info'))}>
      <${Avatar} id=${record.with ?? record.chat} name=${title} group=${record.kind === 'group'} size="small" />
      <span class="row-text">
        <span class="row-title" dir="auto">${title}</span>
        <${State} record=${record} />
      </span>
    </button></h1>
    <${IconButton} label="Search in this chat" icon=${Search}
      onClick=${() => { searchScope.value = record.chat; go('/search'); }} />
  </header>`;
}

/** The line below the title: who types, who is online, who is in it. */
function State({ record }) {
  minute.value;
  const typing = typers.value.get(record.chat);
  let text = '';
  let kind = '';
  if (typing) {
    kind = 'typing';
    text = record.kind === 'direct' ? 'typing …' : `${typing.map(nameOf).join(', ')} ${typing.length > 1 ? 'are' : 'is'} typing …`;
  } else if (record.kind === 'group') {
    const names = (record.members ?? []).slice(0, 12).map(({ user }) => (user === me() ? 'you' : nameOf(user)));
    const rest = (record.members?.length ?? 0) - names.length;
    text = names.length ? names.join(', ') + (rest > 0 ? ` and ${rest} others` : '') : 'Group';
  } else if (record.with === me()) {
    text = 'Notes to yourself';
  } else {
    const seen = presence.value.get(record.with);
    if (seen?.online) { kind = 'online'; text = 'online'; }
    else if (seen?.last_seen) text = lastSeen(seen.last_seen);
    else text = record.with;
  }
  return html`<span class="row-detail ${kind}" data-testid="chat-state">${text}</span>`;
}

/** For those who listen: what comes in while this chat is open. */
function Spoken({ chat }) {
  const place = useRef(null);
  useEffect(() => listen('messages', ({ items }) => {
    const news = items.filter((item) => item.chat === chat && item.from && item.from !== me());
    if (!news.length) return;
    place.current.textContent = news.slice(-3)
      .map((item) => (item.kind === 'text' ? `${nameOf(item.from)}: ${item.text.slice(0, 300)}` : eventText(item)))
      .join('. ');
  }), [chat]);
  return html`<p class="unseen" role="log" aria-live="polite" aria-label="New messages" ref=${place}></p>`;
}
