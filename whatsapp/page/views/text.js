// A message's text as nodes: links can be pressed, everything else is text and nothing but text.

import { html } from '../html.js';
import { fold } from '../core/history.js';

const LINK = /\b(?:https?:\/\/|www\.)[^\s<>"'“”]+/giu;
const TRAILING = /[.,;:!?…)\]}]+$/;
const EMOJI_ONLY = /^(?:\p{Extended_Pictographic}|\p{Emoji_Modifier}|\p{Regional_Indicator}|[\u200d\ufe0f\u20e3\s])+$/u;
const BIG_EMOJI_MAX = 3;

const segmenter = 'Segmenter' in Intl ? new Intl.Segmenter() : null;

/** Is this one to three emoji and nothing else? Those are shown large. */
export function isBigEmoji(text) {
  if (text.length > 40 || !EMOJI_ONLY.test(text) || !segmenter) return false;
  return [...segmenter.segment(text.replace(/\s/g, ''))].length <= BIG_EMOJI_MAX;
}

function trimmed(link) {
  let kept = link;
  for (;;) {
    const [tail] = TRAILING.exec(kept) ?? [];
    if (!tail) return kept;
    // A bracket that was opened inside of the address belongs to it.
    if (tail.endsWith(')') && (kept.match(/\(/g)?.length ?? 0) >= (kept.match(/\)/g)?.length ?? 0)) return kept;
    kept = kept.slice(0, -1);
  }
}

function safe(link) {
  try {
    const url = new URL(/^www\./i.test(link) ? `https://${link}` : link);
    return url.protocol === 'https:' || url.protocol === 'http:' ? url.href : null;
  } catch {
    return null;
  }
}

export function linked(text) {
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(LINK)) {
    const shown = trimmed(match[0]);
    const href = safe(shown);
    if (!href) continue;
    nodes.push(text.slice(at, match.index));
    nodes.push(html`<a href=${href} target="_blank" rel="noopener noreferrer nofollow">${shown}</a>`);
    at = match.index + shown.length;
  }
  nodes.push(text.slice(at));
  return nodes;
}

const WORD = /[\p{L}\p{N}]+/gu;

/** `text` with the words of a search marked. */
export function marked(text, query) {
  const words = (query.match(WORD) ?? []).map(fold);
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(WORD)) {
    if (!words.some((word) => fold(match[0]).startsWith(word))) continue;
    nodes.push(text.slice(at, match.index), html`<mark>${match[0]}</mark>`);
    at = match.index + match[0].length;
  }
  nodes.push(text.slice(at));
  return nodes;
}
