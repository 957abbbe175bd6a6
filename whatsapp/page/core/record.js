// A chat's record: what this browser knows of it beside its messages. `chats.js` keeps them.
//
//   applied  up to here this device has what was pushed, or pages it on demand; null: not known
//   head     the last seq that there is        counted  up to here `unread` has been counted
//   runs     the seqs whose messages are here  members  [{user, role, received, read}] or null
//   rev      grows with every change, so that tabs do not take an older one for a newer

import { addRun } from './runs.js';
import { isGroup, peerOf } from './ids.js';

export const UNREAD_MAX = 999;

export function newRecord(chat, me) {
  const group = isGroup(chat);
  return {
    chat,
    kind: group ? 'group' : 'direct',
    title: group ? 'Group' : '',
    with: group ? null : peerOf(chat, me),
    about: '', announce: false, role: group ? 'member' : null, left: 0,
    head: 0, applied: null, counted: 0, read: 0, unread: 0,
    last: null, runs: [], members: null, rev: 0,
  };
}

/** What the server tells of a chat, taken into its record. */
export function takeInfo(record, info) {
  record.title = info.title;
  record.left = info.left ?? 0;
  record.role = info.role ?? null;
  if (info.about !== undefined) record.about = info.about;
  if (info.announce !== undefined) record.announce = info.announce;
  if (info.last && info.last.seq >= (record.last?.seq ?? 0)) record.last = info.last;
  if (record.read <= info.read && record.counted <= info.head) {
    record.unread = info.unread;
    record.counted = info.head;
  }
  record.read = Math.max(record.read, info.read);
  record.head = Math.max(record.head, info.head);
  if (record.read >= record.head) record.unread = 0;
  if (info.members) record.members = withCursors(info.members, record.members ?? []);
}

/** Cursors only move forward: a list that was asked for may be older than a receipt. */
function withCursors(members, before) {
  const known = new Map(before.map((member) => [member.user, member]));
  return members.map((member) => {
    const old = known.get(member.user);
    return {
      ...member,
      received: Math.max(member.received, old?.received ?? 0),
      read: Math.max(member.read, old?.read ?? 0),
    };
  });
}

/** An entry of the log that came by push, or that the server has just taken from us. */
export function takeEntry(record, item, me, pushed) {
  const { seq } = item;
  record.runs = addRun(record.runs, seq, seq);
  if (pushed || seq === (record.applied ?? 0) + 1) {
    record.applied = Math.max(record.applied ?? 0, seq);
  }
  record.head = Math.max(record.head, seq);
  if (item.kind === 'void') return;
  if (seq > (record.last?.seq ?? 0)) record.last = item;
  if (seq > record.counted) {
    record.counted = seq;
    if (item.from !== me && seq > record.read) record.unread = Math.min(UNREAD_MAX, record.unread + 1);
  }
  const rule = EVENTS[item.kind];
  if (rule && pushed) rule(record, item, me);
}

const newMember = (user, seq) => ({ user, role: 'member', received: seq - 1, read: seq - 1 });

function join(record, users, item, me) {
  if (users.includes(me)) {
    record.left = 0;
    record.role ??= 'member';
    // Somebody who was away does not know who else is there: ask.
    record.members = null;
    return;
  }
  if (!record.members) return;
  const there = new Set(record.members.map((member) => member.user));
  record.members = [
    ...record.members,
    ...users.filter((user) => !there.has(user)).map((user) => newMember(user, item.seq)),
  ];
}

function part(record, users, item, me) {
  record.members = record.members?.filter((member) => !users.includes(member.user)) ?? null;
  if (users.includes(me)) {
    record.left = item.seq;
    record.role = null;
  }
}

const EVENTS = {
  created(record, item, me) {
    record.title = item.title;
    if (item.from === me) record.role = 'owner';
  },
  title(record, item) { record.title = item.title; },
  about(record, item) { record.about = item.about ?? ''; },
  announce(record, item) { record.announce = Boolean(item.on); },
  added(record, item, me) { join(record, item.users ?? [], item, me); },
  joined(record, item, me) { join(record, [item.from], item, me); },
  removed(record, item, me) { part(record, item.users ?? [], item, me); },
  left(record, item, me) { part(record, [item.from], item, me); },
  role(record, item, me) {
    if (item.user === me) record.role = item.role;
    record.members = record.members?.map((member) =>
      (member.user === item.user ? { ...member, role: item.role } : member)) ?? null;
  },
};

/** Somebody's cursors moved. True if that was news. */
export function takeReceipt(record, { user, received, read }, me) {
  record.members ??= record.kind === 'direct'
    ? [...new Set([me, record.with])].map((name) => ({ user: name, role: 'member', received: 0, read: 0 }))
    : null;
  const member = record.members?.find((one) => one.user === user);
  if (!member || (member.received >= received && member.read >= read)) return false;
  record.members = record.members.map((one) => (one === member
    ? { ...one, received: Math.max(one.received, received), read: Math.max(one.read, read) }
    : one));
  return true;
}

/** May this user write here? '' or the reason why not. */
export function whyMute(record) {
  if (record.left) return 'You are no longer a member of this group.';
  if (record.announce && record.role === 'member') return 'Only admins can send messages here.';
  return '';
}

/** Up to where all others have what we wrote, and have read it. */
export function reach(record, me) {
  if (record.kind === 'direct' && record.with === me) return { received: Infinity, read: Infinity };
  const others = (record.members ?? []).filter((member) => member.user !== me);
  if (!others.length) return { received: 0, read: 0 };
  return {
    received: Math.min(...others.map((member) => Math.max(member.received, member.read))),
    read: Math.min(...others.map((member) => member.read)),
  };
}

/** How far a message of ours has come: 'stored', 'delivered' or 'read'. */
export function progress(record, seq, me, { received, read } = reach(record, me)) {
  if (seq <= read) return 'read';
  return seq <= received ? 'delivered' : 'stored';
}

/** When there was last something here; what the list is sorted by. */
export const activity = (record) => record.last?.time ?? 0;
