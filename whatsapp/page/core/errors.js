// Every error in plain words: those of the server are, here are those that it cannot say.

import { waiting } from './clock.js';

/** Something that was asked of the server or the browser and was not done. `code`: protocol. */
export class Refused extends Error {
  constructor(code, message, { retryable = false, retryAfterMs = null, status = 0 } = {}) {
    super(message);
    this.code = code;
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMs;
    this.status = status;
  }
}

export const OFFLINE = 'offline';
const STORAGE_FULL = 'storage_full';

const sentence = (text) => {
  const trimmed = text.trim();
  const begun = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
};

const OURS = {
  bad_credentials: 'The user name or the password is wrong.',
  user_exists: 'This user name is taken. Choose another one.',
  not_member: 'You are no longer a member of this group.',
  id_reused: 'This message was sent already with other words. Copy it and send it as a new one.',
  internal: 'Something went wrong on the server. Try again in a moment.',
};

/** One or two short sentences for the person. */
export function plainWords(error) {
  if (!(error instanceof Refused)) {
    console.error(error);
    return 'Something went wrong in this page. Reload it; nothing that you wrote is lost.';
  }
  const said = OURS[error.code] ?? sentence(error.message);
  if (error.retryAfterMs) return `${said} Try again ${waiting(error.retryAfterMs)}.`;
  return said;
}

/** An exception of IndexedDB as ours. */
export function storageError(error) {
  if (error instanceof Refused) return error;
  if (error?.name === 'QuotaExceededError' || /quota|disk|full/i.test(error?.message ?? '')) {
    return new Refused(STORAGE_FULL,
      'This browser has no room left to store messages. Free some space on this device');
  }
  return new Refused('storage', `This browser could not store it (${error?.name ?? 'unknown error'})`);
}
