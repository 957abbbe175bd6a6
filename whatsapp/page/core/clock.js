// The server's time, told from this machine's clock, which may be hours off; and times in words.

import { signal } from '../html.js';

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
// Less than this is the way of the message, not a clock that is off.
const OFFSET_MIN_MS = 2_000;

const offsetMs = signal(0);
// Ticks once a minute, so that "today" becomes "yesterday" on an open page.
export const minute = signal(0);
setInterval(() => { minute.value += 1; }, MINUTE_MS);

export function learnServerTime(serverMs) {
  const difference = serverMs - Date.now();
  offsetMs.value = Math.abs(difference) < OFFSET_MIN_MS ? 0 : difference;
}

/** Milliseconds, as the server counts them. */
export function now() {
  return Date.now() + offsetMs.peek();
}

// What the server says happened at `ms`, as the wall clock of this place would have shown it.
const timeFormat = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const weekdayFormat = new Intl.DateTimeFormat(undefined, { weekday: 'long' });
const dateFormat = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long', year: 'numeric' });
const shortDateFormat = new Intl.DateTimeFormat(undefined, { day: '2-digit', month: '2-digit', year: '2-digit' });
const fullFormat = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

export const timeOfDay = (ms) => timeFormat.format(ms);
export const dateAndTime = (ms) => fullFormat.format(ms);

/** A key that is the same for all times of one day. */
export function dayOf(ms) {
  const date = new Date(ms);
  return date.getFullYear() * 10_000 + date.getMonth() * 100 + date.getDate();
}

function daysAgo(ms) {
  const midnight = (at) => new Date(at).setHours(0, 0, 0, 0);
  return Math.round((midnight(now()) - midnight(ms)) / DAY_MS);
}

/** "Today", "Yesterday", "Tuesday", "4 March 2026". */
export function dayName(ms) {
  const days = daysAgo(ms);
  if (days <= 0) return 'Today';
  if (days === 1) return 'Yesterday';
  return days < 7 ? weekdayFormat.format(ms) : dateFormat.format(ms);
}

/** For a line of a list: a time today, else a day. */
export function shortTime(ms) {
  const days = daysAgo(ms);
  if (days <= 0) return timeOfDay(ms);
  if (days === 1) return 'Yesterday';
  return days < 7 ? weekdayFormat.format(ms) : shortDateFormat.format(ms);
}

export function lastSeen(ms) {
  const days = daysAgo(ms);
  if (days <= 0) return `last seen today at ${timeOfDay(ms)}`;
  if (days === 1) return `last seen yesterday at ${timeOfDay(ms)}`;
  return `last seen ${shortTime(ms)}`;
}

/** "in 5 seconds", "in 2 minutes": for limits that pass. */
export function waiting(ms) {
  const seconds = Math.max(1, Math.ceil(ms / 1000));
  if (seconds < 90) return `in ${seconds} second${seconds === 1 ? '' : 's'}`;
  return `in ${Math.ceil(seconds / 60)} minutes`;
}
