// Small pieces that many views use: avatars, buttons, fields, rows, loading and empty states.

import { html, useEffect, useRef } from '../html.js';
import { Back, Group } from './icons.js';
import { back } from '../core/route.js';

const TINTS = 8;

/** A number from an id, the same everywhere: the tint of a person. */
export function tint(id) {
  let sum = 0;
  for (const character of id) sum = (sum * 31 + character.codePointAt(0)) >>> 0;
  return sum % TINTS;
}

function initials(name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const first = (word) => [...(word ?? '')].find((c) => /[\p{L}\p{N}]/u.test(c)) ?? '';
  return (first(words[0]) + (words.length > 1 ? first(words.at(-1)) : '')).toUpperCase();
}

export function Avatar({ id, name, group = false, size = 'normal', online = false }) {
  return html`<span class="avatar ${size} tint-${tint(id)}" aria-hidden="true">
    ${initials(name) || (group ? html`<${Group} />` : '?')}
    ${online && html`<span class="online-dot"></span>`}
  </span>`;
}

/** A button that is only an icon: its label is its name and its hint. */
export function IconButton({ label, icon: Icon, onClick, class: kind = '', ...rest }) {
  return html`<button type="button" class="icon-button ${kind}" aria-label=${label} title=${label}
    onClick=${onClick} ...${rest}><${Icon} /></button>`;
}

/** The head of a panel. Takes the focus when the panel opens, so that a reader says where one is. */
export function PanelHead({ title, to = '/', children }) {
  const heading = useRef(null);
  useEffect(() => { heading.current?.focus({ preventScroll: true }); }, []);
  return html`<header class="bar">
    <${IconButton} label="Back" icon=${Back} onClick=${() => back(to)} />
    <h1 class="bar-title" tabindex="-1" ref=${heading}>${title}</h1>
    ${children}
  </header>`;
}

export function Field({ label, hint, trouble, children, ...input }) {
  return html`<label class="field">
    <span class="field-label">${label}</span>
    ${children ?? html`<input ...${input} aria-invalid=${trouble ? 'true' : undefined} />`}
    ${trouble ? html`<span class="field-trouble" role="alert">${trouble}</span>`
    : hint && html`<span class="field-hint">${hint}</span>`}
  </label>`;
}

/** A line of a list that one can press. */
export function Row({ icon: Icon, avatar, title, detail, extra, onClick, class: kind = '', ...rest }) {
  return html`<button type="button" class="row ${kind}" onClick=${onClick} ...${rest}>
    ${avatar ?? (Icon && html`<span class="row-icon"><${Icon} /></span>`)}
    <span class="row-text">
      <span class="row-title" dir="auto">${title}</span>
      ${detail && html`<span class="row-detail" dir="auto">${detail}</span>`}
    </span>
    ${extra}
  </button>`;
}

export const Spinner = ({ label = 'Loading' }) =>
  html`<span class="spinner" role="status" aria-label=${label}></span>`;

export function Trouble({ text, onRetry }) {
  if (!text) return null;
  return html`<div class="trouble" role="alert"><p>${text}</p>
    ${onRetry && html`<button type="button" class="quiet-button" onClick=${onRetry}>Try again</button>`}
  </div>`;
}

export const Empty = ({ title, text, children }) => html`<div class="empty">
  <p class="empty-title">${title}</p>${text && html`<p>${text}</p>`}${children}</div>`;
