// How far one message has come, member by member.

import { html, useEffect } from '../html.js';
import { me } from '../core/state.js';
import { nameOf } from '../core/people.js';
import { recordOf, refreshChat } from '../core/chats.js';
import { dateAndTime } from '../core/clock.js';
import { Avatar } from './parts.js';
import { DialogHead } from './dialogs.js';
import { Ticks } from './ticks.js';

const GROUPS = [
  ['read', 'Read by'], ['delivered', 'Delivered to'], ['stored', 'Not delivered yet'],
];

const stateOf = (member, seq) =>
  (member.read >= seq ? 'read' : member.received >= seq ? 'delivered' : 'stored');

export function MessageInfo({ close, chat, item }) {
  const record = recordOf(chat);
  useEffect(() => { refreshChat(chat).catch(() => {}); }, []);
  const others = (record.members ?? []).filter((member) => member.user !== me());
  return html`<${DialogHead} title="Message info" close=${close} />
    <p class="info-text" dir="auto">${item.text.slice(0, 300)}</p>
    <p class="quiet">Sent ${dateAndTime(item.time)}</p>
    ${GROUPS.map(([state, title]) => {
    const members = others.filter((member) => stateOf(member, item.seq) === state);
    return members.length > 0 && html`<section key=${state} aria-label=${title}>
      <h3 class="info-state"><${Ticks} state=${state} />${title}</h3>
      <ul class="plain">${members.map(({ user }) => html`<li key=${user} class="person">
        <${Avatar} id=${user} name=${nameOf(user)} size="tiny" /><span dir="auto">${nameOf(user)}</span></li>`)}</ul>
    </section>`;
  })}`;
}
