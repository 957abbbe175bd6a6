// What all parts of this tab look at: who is logged in, how the connection is, what to tell.

import { signal } from '../html.js';
import { listen } from './bus.js';

/** null: not known yet. {token: null}: nobody. {token, user, device}: logged in. */
export const session = signal(null);
export const me = () => session.peek()?.user ?? '';

/** Why somebody is at the login page without having logged out; a sentence. */
export const loginNotice = signal('');

// The connection, as the leading tab knows it. `state`: waiting | connecting | syncing | live |
// replaced | version. `retryAt`: when the next try is due.
export const link = signal({ state: 'connecting', retryAt: 0, since: Date.now(), trouble: '' });

const DEFAULT_LIMITS = { text_bytes: 16_384, frame_bytes: 65_536, window: 512, heartbeat_s: 30 };
export const limits = signal(DEFAULT_LIMITS);
export const durable = signal(true);

/** A lasting trouble of this browser, in words, or ''. */
export const storageTrouble = signal('');

/** Chat → {text, until}: sending goes on by itself, later. */
export const sendingPauses = signal(new Map());

/** A passing word at the foot of the page: {text, key}. */
export const toast = signal(null);
let toasts = 0;
export function say(text) { toast.value = { text, key: ++toasts }; }

listen('link', ({ link: value }) => { link.value = value; });
listen('limits', (event) => { limits.value = event.limits; durable.value = event.durable; });
listen('storage', ({ text }) => { storageTrouble.value = text; });
listen('pauses', ({ pauses }) => { sendingPauses.value = new Map(pauses); });
