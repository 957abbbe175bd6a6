// Our own drawings, as SVG. Decorations: what they mean is said by the label of what holds them.

import { html } from '../html.js';

const drawn = (path, { fill = false } = {}) => ({ label, size = 24 }) => html`
  <svg class="icon" width=${size} height=${size} viewBox="0 0 24 24"
    fill=${fill ? 'currentColor' : 'none'} stroke=${fill ? 'none' : 'currentColor'} stroke-width="1.9"
    stroke-linecap="round" stroke-linejoin="round"
    role=${label ? 'img' : undefined} aria-label=${label} aria-hidden=${label ? undefined : 'true'}>
    <path d=${path} /></svg>`;

export const Back = drawn('M15 5l-7 7 7 7M8.5 12H20');
export const Close = drawn('M6 6l12 12M18 6L6 18');
export const Plus = drawn('M12 5v14M5 12h14');
export const Search = drawn('M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5L20 20');
export const More = drawn('M12 4.2a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.6zM12 10.2a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.6zM12 16.2a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.6z', { fill: true });
export const Send = drawn('M4 12L3 4.5 21 12 3 19.5 4 12zm0 0h8');
export const Down = drawn('M6 9.5l6 6 6-6');
export const Group = drawn('M9 5a3.2 3.2 0 1 1 0 6.4A3.2 3.2 0 0 1 9 5zM3 19c.4-3.4 2.8-5 6-5s5.6 1.6 6 5M16 5.4a3 3 0 0 1 0 5.8M18 14.4c1.8.7 2.8 2.3 3 4.6');
export const Person = drawn('M12 4.5a3.8 3.8 0 1 1 0 7.6 3.8 3.8 0 0 1 0-7.6zM4.5 20c.5-3.8 3.4-5.6 7.5-5.6s7 1.8 7.5 5.6');
export const Gear = drawn('M5 7h8M17 7h2M5 17h2M11 17h8M15 5v4M9 15v4M5 12h14');
export const Reply = drawn('M9.5 6L4 11.5 9.5 17M4.5 11.5H13c4 0 6.5 2 7 6');
export const Copy = drawn('M9 9h10v11H9zM15 9V4H5v11h4');
export const Info = drawn('M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17zM12 11v5.5M12 7.6v.1');
export const Link = drawn('M10 14a4 4 0 0 0 5.7 0l3-3A4 4 0 0 0 13 5.3l-1 1M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l1-1');
export const Leave = drawn('M10 4H5v16h5M14 8l4 4-4 4M9 12h9');
export const Block = drawn('M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17zM6 6l12 12');
export const Device = drawn('M4 5h12v9H4zM2.5 18H14M17.5 9H21v11h-5v-6');
export const Smile = drawn('M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17zM8.2 14c.9 1.6 2.2 2.3 3.8 2.3s2.9-.7 3.8-2.3M9 9.3v.4M15 9.3v.4');
export const Alert = drawn('M12 4L2.8 19.5h18.4L12 4zM12 10v4.2M12 16.8v.1');
export const Edit = drawn('M4 20l1-4.5L16 4.5l3.5 3.5L8.5 19 4 20zM13.5 7l3.5 3.5');
export const Bin = drawn('M5 7h14M9.5 7V4.5h5V7M7 7l1 13h8l1-13');
export const Retry = drawn('M19.5 12a7.5 7.5 0 1 1-2.3-5.4L19.5 9M19.5 4v5h-5');
export const Horn = drawn('M4 10v4h3.5L15 18.5v-13L7.5 10H4zM18.5 9.5c1 1.6 1 3.4 0 5');
export const Check = drawn('M5 12.5l4.5 4.5L19 7.5');

const tick = (path, box) => ({ label, name }) => html`
  <svg class="tick ${name}" width=${box} height="11" viewBox="0 0 ${box} 11" role="img" aria-label=${label}
    fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round">
    <path d=${path} /></svg>`;

export const TickClock = tick('M5.5 1a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9zM5.5 3v2.7l1.7 1', 11);
export const TickOne = tick('M1.2 6l3 3L10.5 2', 12);
export const TickTwo = tick('M1.2 6l3 3L10.5 2M7.3 8.6l.5.4L14.2 2', 16);

/** The mark of the page: a bubble with two waves. */
export const Mark = ({ size = 64 }) => html`
  <svg width=${size} height=${size} viewBox="0 0 64 64" aria-hidden="true">
    <rect width="64" height="64" rx="15" class="mark-ground" />
    <path class="mark-bubble" d="M32 12c12.2 0 21 7.8 21 18.5S44.2 49 32 49c-2.3 0-4.5-.3-6.5-.8L15 53l2.3-8.5C13.3 41 11 36.2 11 30.5 11 19.8 19.8 12 32 12z" />
    <path class="mark-wave" d="M19.5 27.5c4.2-4.5 8.3-4.5 12.5 0s8.3 4.5 12.5 0" />
    <path class="mark-wave second" d="M19.5 36.5c4.2-4.5 8.3-4.5 12.5 0s8.3 4.5 12.5 0" />
  </svg>`;
