// Searching messages: at the server, or, without it, in what this browser has.

import { html, signal, useEffect, useRef, useState } from '../html.js';
import { get } from '../core/rest.js';
import { listen } from '../core/bus.js';
import { me } from '../core/state.js';
import { nameOf } from '../core/people.js';
import { plainWords } from '../core/errors.js';
import { recordOf } from '../core/chats.js';
import { searchHere } from '../core/history.js';
import { shortTime } from '../core/clock.js';
import { showChat } from '../core/route.js';
import { titleOf } from './chat_list.js';
import { Avatar, Empty, PanelHead, Spinner, Trouble } from './parts.js';
import { Close } from './icons.js';
import { marked } from './text.js';

const SEARCH_AFTER_MS = 250;
const PAGE = 30;

/** The chat to search in, or '' for all. */
export const searchScope = signal('');
// Stays when one comes back from a result.
const typed = signal('');
listen('other-user', () => { searchScope.value = ''; typed.value = ''; });

export function Search() {
  const query = typed.value;
  const scope = searchScope.value;
  const [state, setState] = useState({ results: null, more: false, busy: false, trouble: '', here: false });
  const field = useRef(null);
  const turn = useRef(0);

  const search = async (before) => {
    const mine = (turn.current += 1);
    setState((now) => ({ ...now, busy: true, trouble: '' }));
    const answer = await ask(query.trim(), scope, before);
    if (mine !== turn.current) return;
    setState((now) => ({
      ...answer, busy: false,
      results: before ? [...now.results, ...answer.results] : answer.results,
    }));
  };
  useEffect(() => {
    turn.current += 1;
    if (!/[\p{L}\p{N}]/u.test(query)) {
      setState({ results: null, more: false, busy: false, trouble: '', here: false });
      return undefined;
    }
    const timer = setTimeout(() => search(), SEARCH_AFTER_MS);
    return () => clearTimeout(timer);
  }, [query, scope]);
  useEffect(() => { setTimeout(() => field.current?.focus(), 0); }, []);

  const { results, more, busy, trouble, here } = state;
  return html`<${PanelHead} title="Search" />
    <div class="panel-search" role="search">
      ${scope && html`<button type="button" class="chip" onClick=${() => { searchScope.value = ''; }}>
        In ${titleOf(recordOf(scope))}<span class="unseen">, search in all chats instead</span><${Close} size=${16} /></button>`}
      <input type="search" ref=${field} value=${query} onInput=${(event) => { typed.value = event.target.value; }}
        aria-label="Search messages" placeholder="Words, or “a phrase”" autocomplete="off" dir="auto" maxlength="256" />
    </div>
    <div class="scroll">
      ${here && html`<p class="hint">No connection: searched only what is on this device.</p>`}
      <${Trouble} text=${trouble} onRetry=${() => search()} />
      ${results && html`<ul class="chats" aria-label="Found messages">
        ${results.map((hit) => html`<${Hit} key=${`${hit.chat}/${hit.message.seq}`} hit=${hit} query=${query} />`)}</ul>`}
      ${busy && html`<div class="middle"><${Spinner} label="Searching" /></div>`}
      ${more && !busy && html`<button type="button" class="quiet-button wide"
        onClick=${() => search(results.at(-1).message.time)}>Show more</button>`}
      ${results?.length === 0 && !busy && html`<${Empty} title="Nothing found"
        text="All words must be in one message. The last one may be only its beginning." />`}
    </div>`;
}

async function ask(words, scope, before) {
  const none = { results: [], more: false, trouble: '', here: false };
  const q = words.replace(/[“”„]/g, '"');
  try {
    const { results, more } = await get('/v1/search', {
      q, limit: PAGE, ...(scope && { chat: scope }), ...(before && { before }),
    });
    return { ...none, results, more };
  } catch (error) {
    if (error.code !== 'offline') return { ...none, trouble: plainWords(error) };
    return { ...none, results: await searchHere(words.replace(/["“”]/g, ' '), scope), here: true };
  }
}

function Hit({ hit, query }) {
  const record = recordOf(hit.chat);
  const { from, seq, time } = hit.message;
  return html`<li><button type="button" class="chat-line" onClick=${() => showChat(hit.chat, seq)}>
    <${Avatar} id=${record.with ?? hit.chat} name=${titleOf(record)} group=${record.kind === 'group'} />
    <span class="chat-text">
      <span class="chat-top"><span class="chat-title" dir="auto">${titleOf(record)}</span><time class="chat-time">${shortTime(time)}</time></span>
      <span class="hit" dir="auto"><span class="hit-from">${from === me() ? 'You' : nameOf(from)}: </span>${marked(hit.snippet, query)}</span>
    </span></button></li>`;
}
