// Events of a chat in words: "Alice added Bob". And a chat's last entry on one line.

import { me } from '../core/state.js';
import { nameOf, youOr } from '../core/people.js';

const list = new Intl.ListFormat(undefined, { type: 'conjunction' });
// "you" in the middle of a sentence.
const whom = (user) => (user === me() ? 'you' : nameOf(user));
const all = (users) => {
  const names = (users ?? []).slice(0, 5).map(whom);
  const rest = (users?.length ?? 0) - names.length;
  return list.format(rest > 0 ? [...names, `${rest} others`] : names);
};

const ROLES = { owner: 'an owner', admin: 'an admin', member: 'a member' };

const SAID = {
  created: (item) => `${youOr(item.from)} created the group “${item.title}”`,
  added: (item) => `${youOr(item.from)} added ${all(item.users)}`,
  removed: (item) => `${youOr(item.from)} removed ${all(item.users)}`,
  left: (item) => `${youOr(item.from)} left`,
  joined: (item) => `${youOr(item.from)} joined by invitation`,
  title: (item) => `${youOr(item.from)} named the group “${item.title}”`,
  about: (item) => (item.about
    ? `${youOr(item.from)} changed the description` : `${youOr(item.from)} removed the description`),
  announce: (item) => (item.on
    ? `${youOr(item.from)} allowed only admins to send messages`
    : `${youOr(item.from)} allowed everybody to send messages`),
  role: (item) => `${youOr(item.from)} made ${whom(item.user)} ${ROLES[item.role] ?? item.role}`,
};

/** What an event says. Kinds of a later version are not shown, but not hidden either. */
export function eventText(item) {
  return SAID[item.kind]?.(item) ?? 'Something that this version of the page cannot show';
}

const line = (text) => text.slice(0, 200).replace(/\s+/g, ' ');

export function lastLine(record) {
  const { last } = record;
  if (!last) return '';
  if (last.kind !== 'text') return eventText(last);
  return record.kind === 'group' && last.from !== me()
    ? `${nameOf(last.from)}: ${line(last.text)}` : line(last.text);
}
