// How far a message of one's own has come: clock, one tick, two ticks, two blue ones.

import { html } from '../html.js';
import { TickClock, TickOne, TickTwo, Alert } from './icons.js';

const NAMES = {
  queued: 'Waiting to be sent',
  failed: 'Not sent',
  stored: 'Sent',
  delivered: 'Delivered',
  read: 'Read',
};

export function Ticks({ state }) {
  const label = NAMES[state];
  if (state === 'failed') return html`<span class="tick failed"><${Alert} label=${label} size=${14} /></span>`;
  const Icon = { queued: TickClock, stored: TickOne }[state] ?? TickTwo;
  return html`<${Icon} label=${label} name=${state} />`;
}
