// The whole page: login, or two panes, of which a phone shows one at a time.

import { effect, html } from '../html.js';
import { openChat, route } from '../core/route.js';
import { session, toast } from '../core/state.js';
import { ordered, unreadChats } from '../core/chats.js';
import { watch } from '../core/watching.js';
import { Banner } from './banner.js';
import { ChatList } from './chat_list.js';
import { Conversation } from './conversation.js';
import { ChatInfo } from './chat_info.js';
import { Dialogs } from './dialogs.js';
import { Join } from './join.js';
import { Login } from './login.js';
import { Mark } from './icons.js';
import { NewChat, NewGroup } from './new_chat.js';
import { Search } from './search.js';
import { Devices, Settings } from './settings.js';

const PANEL_VIEWS = {
  new: NewChat, group: NewGroup, settings: Settings, devices: Devices, search: Search,
};
const PANEL_NAMES = {
  new: 'New chat', group: 'New group', settings: 'Settings', devices: 'Devices', search: 'Search',
};
const WATCHED_IN_LIST = 60;

effect(() => {
  const count = session.value?.token ? unreadChats.value : 0;
  document.title = count ? `(${count}) Tidings` : 'Tidings';
});

// Presence of whom one sees: the open chat's, and the first of the list.
effect(() => {
  const users = ordered.value.map(({ record }) => record)
    .filter((record) => record.kind === 'direct' && record.with && record.with !== session.peek()?.user)
    .slice(0, WATCHED_IN_LIST).map((record) => record.with);
  const chat = openChat.value;
  const me = session.value?.user;
  if (chat && me && !chat.startsWith('g:')) {
    const peer = chat.split(':').find((user) => user !== me);
    if (peer && !users.includes(peer)) users.unshift(peer);
  }
  if (session.value?.token && !session.value.loading) watch(users.sort());
});

export function App() {
  if (session.value === null || session.value.loading) return html`<main class="boot"><${Mark} /></main>`;
  if (!session.value.token) return html`<${Login} />`;
  return html`<${Panes} /><${Dialogs} /><${Toast} />`;
}

function Panes() {
  const { panel, chat, info } = route.value;
  const open = chat || openChat.value;
  const Panel = PANEL_VIEWS[panel] ?? ChatList;
  return html`<div class="panes ${chat ? 'shows-chat' : 'shows-list'} ${info ? 'shows-info' : ''}">
    <section class="side" aria-label=${PANEL_NAMES[panel] ?? 'Chats'}>
      <${Banner} />
      <${Panel} key=${panel || 'list'} />
    </section>
    <main class="stage">
      ${open ? html`<${Conversation} key=${open} chat=${open} />` : html`<${Nothing} />`}
    </main>
    ${info && chat && html`<aside class="info" aria-label="About this chat"><${ChatInfo} key=${chat} chat=${chat} /></aside>`}
    <${Join} />
  </div>`;
}

const Nothing = () => html`<div class="nothing"><${Mark} size=${88} />
  <p class="nothing-title">Pick a chat, or begin one</p>
  <p>What you send is kept safe on this device until the server has it.</p></div>`;

function Toast() {
  const said = toast.value;
  return html`<div class="toast-place" role="status" aria-live="polite">
    ${said && html`<p class="toast" key=${said.key}>${said.text}</p>`}</div>`;
}

