// Ids that this client makes, and what ids tell.

/** A message's id. Not crypto.randomUUID: that needs https, and a test in a home network has none. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

export const directChat = (one, other) => (one <= other ? `${one}:${other}` : `${other}:${one}`);
export const isGroup = (chat) => chat.startsWith('g:');

/** The other user of a direct chat; oneself in a note to self. */
export function peerOf(chat, me) {
  const [one, other] = chat.split(':');
  return one === me ? other : one;
}

const encoder = new TextEncoder();
export const bytesOf = (text) => encoder.encode(text).length;
