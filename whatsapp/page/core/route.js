// Where in the page one is: the part of the address after #, so that "back" works.
//
//   #/                list      #/c/CHAT           a chat      #/c/CHAT/info     about it
//   #/new  #/group    begin     #/settings  #/devices  #/search                 #join=CODE

import { signal } from '../html.js';

const PANELS = ['new', 'group', 'settings', 'devices', 'search'];

function parse(hash) {
  const join = /^#join=([\w.~-]{1,200})$/.exec(hash);
  if (join) return { panel: '', chat: '', info: false, join: join[1] };
  const [head, ...rest] = hash.replace(/^#\/?/, '').split('/');
  if (head === 'c' && rest[0]) {
    return { panel: '', chat: decode(rest[0]), info: rest[1] === 'info', join: '' };
  }
  return { panel: PANELS.includes(head) ? head : '', chat: '', info: false, join: '' };
}

function decode(text) {
  try { return decodeURIComponent(text); } catch { return ''; }
}

export const route = signal(parse(location.hash));
/** The chat in the right pane; stays while a panel covers the list of chats. */
export const openChat = signal(route.peek().chat);
/** Going to one message: {chat, seq}; taken by the chat's view. */
export const jump = signal(null);

let depth = 0;

addEventListener('hashchange', () => {
  route.value = parse(location.hash);
  if (route.value.chat) openChat.value = route.value.chat;
  else if (!route.value.panel) openChat.value = '';
});

export function go(path) {
  if (location.hash === `#${path}`) return;
  depth += 1;
  location.hash = path;
}

/** Instead of the present place, which one is not to come back to. */
export function replace(path) {
  history.replaceState(null, '', `#${path}`);
  dispatchEvent(new HashChangeEvent('hashchange'));
}

/** To the list, from wherever; nothing of what was open stays. */
export function reset() {
  openChat.value = '';
  jump.value = null;
  if (!route.peek().join) replace('/');
}

export const chatPath = (chat, more = '') => `/c/${encodeURIComponent(chat)}${more}`;

export function showChat(chat, seq) {
  if (seq) jump.value = { chat, seq };
  go(chatPath(chat));
}

/** One step back within the page, or to `path` where the page was opened right here. */
export function back(path = '/') {
  if (depth > 0) {
    depth -= 1;
    history.back();
  } else {
    replace(path);
  }
}
