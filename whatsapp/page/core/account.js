// Registering, logging in and out, and which account this browser's data belongs to.
//
// The data of an expired login stays until somebody else logs in: the same user finds all again,
// unsent texts too. Who logs out on purpose leaves nothing behind.

import { batch } from '../html.js';
import { asked, getMeta, putMeta, reading, wipe, writing } from './database.js';
import { hand, listen, publish } from './bus.js';
import { loadChats } from './chats.js';
import { loadPeople } from './people.js';
import { lead, retire } from './leader.js';
import { recover } from './outbox.js';
import { reset } from './route.js';
import { loginNotice, session } from './state.js';
import { post, useToken, whenUnauthorized } from './rest.js';

const ENDED = {
  4001: 'Your login has expired. Log in again: your chats and unsent messages are still here.',
  4010: 'This device was logged out. Log in again: your chats and unsent messages are still here.',
};

let shown = null; // whose data this tab has

/** Look who is logged in here, and show what there is; the server is not needed for it. */
export async function resume() {
  const owner = await lastUser();
  if (shown !== null && shown !== owner) {
    hand({ kind: 'other-user' });
    reset();
  }
  shown = owner;
  const known = (await getMeta('session')) ?? { token: null };
  if (known.token) await enter(known);
  else session.value = known;
}

async function enter(known) {
  useToken(known.token);
  // The records are read relative to the user: who it is must be known first.
  session.value = { ...known, loading: true };
  await recover(known.user);
  await Promise.all([loadChats(), loadPeople()]);
  batch(() => {
    session.value = known;
    loginNotice.value = '';
  });
  lead(known, (code) => expire(known.token, ENDED[code] ?? ENDED[4001]));
}

export const register = (user, password, name, invite) =>
  post('/v1/users', { user, password, ...(name && { name }), ...(invite && { invite }) });

/** The user whose data is here, though nobody is logged in; or ''. */
export const lastUser = async () => (await getMeta('owner')) ?? '';

export async function unsentCount() {
  return reading(['outbox'], ({ outbox }) => asked(outbox.count()));
}

export async function login(user, password) {
  const answer = await post('/v1/login', { user, password, device: deviceName() });
  const owner = await getMeta('owner');
  if (owner !== answer.user) await wipe();
  await writing(['meta'], async ({ meta }) => {
    await asked(meta.put(answer.user, 'owner'));
    await asked(meta.put(answer, 'session'));
    await asked(meta.delete('primed'));
  });
  publish({ kind: 'session' });
}

export async function logout() {
  retire();
  try {
    await post('/v1/logout');
  } catch (error) {
    // Without a connection the device stays in the list of devices, and nobody has its token.
    if (error.code !== 'offline' && error.code !== 'unauthorized') console.warn('logout', error.code);
  }
  await wipe();
  publish({ kind: 'session' });
}

/** The token is good no more. The data stays. */
async function expire(token, notice) {
  const known = await getMeta('session');
  if (known?.token !== token) return;
  await putMeta('session', { token: null });
  publish({ kind: 'session', notice });
}

whenUnauthorized(() => expire(session.peek()?.token, ENDED[4001]));

// Login and logout reach all tabs: each looks again who is there.
listen('session', async ({ notice }) => {
  retire();
  useToken(null);
  loginNotice.value = notice ?? '';
  await resume();
});

function deviceName() {
  const agent = navigator.userAgent;
  const browser = /Edg\//.test(agent) ? 'Edge' : /Firefox\//.test(agent) ? 'Firefox'
    : /Chrome\//.test(agent) ? 'Chrome' : /Safari\//.test(agent) ? 'Safari' : 'Browser';
  const system = /Android/.test(agent) ? 'Android' : /iPhone|iPad/.test(agent) ? 'iOS'
    : /Windows/.test(agent) ? 'Windows' : /Mac OS/.test(agent) ? 'macOS'
      : /Linux/.test(agent) ? 'Linux' : '';
  return system ? `${browser} on ${system}` : browser;
}
