// What the tabs of this browser tell each other, and the parts of one tab: events with a
// `kind`, here at once, in other tabs a moment later.

const channel = 'BroadcastChannel' in self ? new BroadcastChannel('messages') : null;
const listeners = new Map();

export const TAB = Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16)).join('');

export function listen(kind, listener) {
  if (!listeners.has(kind)) listeners.set(kind, new Set());
  listeners.get(kind).add(listener);
  return () => listeners.get(kind).delete(listener);
}

/** To this tab and all others. */
export function publish(event) {
  hand(event);
  channel?.postMessage(event);
}

/** To this tab only. */
export function hand(event) {
  for (const listener of [...(listeners.get(event.kind) ?? [])]) listener(event);
}

if (channel) channel.onmessage = ({ data }) => hand(data);
