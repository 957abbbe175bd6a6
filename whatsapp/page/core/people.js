// Names and "about" of other users: asked for where shown, kept for a day, never in a hurry,
// since the server counts how many people one looks up.

import { signal } from '../html.js';
import { listen, publish } from './bus.js';
import { asked, reading, writing } from './database.js';
import { at, get } from './rest.js';
import { me, session } from './state.js';

const KEPT_MS = 24 * 3_600_000;
const PAUSE_MS = 30_000;
// The rest of the server's allowance is for people whom the user looks for.
const QUICK_LOOKUPS = 12;
const SLOW_MS = 6_000;

/** User → {user, name, about, at}. */
export const people = signal(new Map());
/** User → {online, last_seen}: as the server last said. */
export const presence = signal(new Map());
/** The user's own profile, or null. */
export const profile = signal(null);
/** Whom the user blocks. */
export const blocks = signal(new Set());

const wanted = new Set();
let looking = false;

listen('people', ({ found }) => {
  const next = new Map(people.peek());
  for (const person of found) next.set(person.user, { ...next.get(person.user), ...person });
  people.value = next;
});
listen('presence', ({ user, online, last_seen: lastSeen }) => {
  presence.value = new Map(presence.peek()).set(user, { online, last_seen: lastSeen });
});
listen('presence-lost', () => { presence.value = new Map(); });
listen('profile', (event) => { profile.value = event.profile; });
listen('blocks', ({ users }) => { blocks.value = new Set(users); });

export async function loadPeople() {
  const [found, known, blocked] = await reading(['people', 'meta'], (stores) => Promise.all([
    asked(stores.people.getAll()),
    asked(stores.meta.get('profile')),
    asked(stores.meta.get('blocks')),
  ]));
  people.value = new Map(found.map((person) => [person.user, person]));
  profile.value = known ?? null;
  blocks.value = new Set(blocked ?? []);
}

export async function refreshProfile() {
  const [found, users] = await Promise.all([get('/v1/me'), get('/v1/blocks')]);
  await takeProfile(found);
  await takeBlocks(users);
}

export async function takeProfile(found) {
  publish({ kind: 'profile', profile: found });
  await writing(['meta'], ({ meta }) => asked(meta.put(found, 'profile')));
}

export async function takeBlocks(users) {
  publish({ kind: 'blocks', users });
  await writing(['meta'], ({ meta }) => asked(meta.put(users, 'blocks')));
}

/** Names that came along with something else. */
export async function learnNames(found) {
  const news = found.filter(({ user, name }) => people.peek().get(user)?.name !== name);
  if (!news.length) return;
  publish({ kind: 'people', found: news });
  await writing(['people'], async (stores) => {
    for (const one of news) {
      const known = await asked(stores.people.get(one.user));
      await asked(stores.people.put({ about: '', at: 0, ...known, ...one }));
    }
  });
}

/** What to call somebody. Asks for the name where it is not known. */
export function nameOf(user) {
  if (user === me()) return profile.value?.name ?? user;
  const known = people.value.get(user);
  if (!known?.name) want(user);
  return known?.name ?? user;
}

/** "You" for oneself. */
export const youOr = (user) => (user === me() ? 'You' : nameOf(user));

/** Have the "about" of somebody who is looked at. */
export function want(user) {
  const known = people.peek().get(user);
  if (!user || (known?.at && Date.now() - known.at < KEPT_MS)) return;
  wanted.add(user);
  if (!looking) {
    looking = true;
    setTimeout(look, 0);
  }
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

async function look() {
  let count = 0;
  try {
    while (wanted.size && session.peek()?.token) {
      const [user] = wanted;
      wanted.delete(user);
      await lookUp(user);
      count += 1;
      if (count >= QUICK_LOOKUPS) await pause(SLOW_MS);
    }
  } finally {
    looking = false;
  }
}

async function lookUp(user) {
  const at0 = Date.now();
  try {
    const found = await get(at`/v1/users/${user}`);
    await take({ ...found, at: at0 });
  } catch (error) {
    if (error.code === 'not_found') {
      const known = people.peek().get(user)?.name;
      await take({ user, name: known ? 'Deleted account' : user, about: '', at: at0 });
    } else if (error.retryable) {
      wanted.add(user);
      await pause(error.retryAfterMs ?? PAUSE_MS);
    }
  }
}

async function take(person) {
  publish({ kind: 'people', found: [person] });
  await writing(['people'], ({ people: store }) => asked(store.put(person)));
}
