// Beginning: finding people, writing to one, making a group of several.

import { html, useEffect, useRef, useState } from '../html.js';
import { chats, chatWith, takeInfos } from '../core/chats.js';
import { get, post } from '../core/rest.js';
import { go, replace, showChat, chatPath } from '../core/route.js';
import { learnNames, nameOf } from '../core/people.js';
import { me } from '../core/state.js';
import { plainWords } from '../core/errors.js';
import { Avatar, Empty, Field, PanelHead, Row, Spinner, Trouble } from './parts.js';
import { Check, Close, Group, Person } from './icons.js';

const SEARCH_AFTER_MS = 350;
const CHARACTERS_MIN = 3;
const TITLE_CHARACTERS_MAX = 100;

/** People of one's direct chats; those of the server, once one types. */
function usePeople(query) {
  const [state, setState] = useState({ found: null, busy: false, trouble: '' });
  const wanted = query.trim();
  useEffect(() => {
    if ([...wanted].length < CHARACTERS_MIN) {
      setState({ found: null, busy: false, trouble: '' });
      return undefined;
    }
    let current = true;
    setState((now) => ({ ...now, busy: true, trouble: '' }));
    const timer = setTimeout(async () => {
      try {
        const found = await get('/v1/users', { q: wanted, limit: 50 });
        learnNames(found);
        if (current) setState({ found: found.map(({ user }) => user), busy: false, trouble: '' });
      } catch (error) {
        if (current) setState({ found: null, busy: false, trouble: plainWords(error) });
      }
    }, SEARCH_AFTER_MS);
    return () => { current = false; clearTimeout(timer); };
  }, [wanted]);
  const known = [...chats.value.values()].filter((one) => one.kind === 'direct' && one.with !== me()).map((one) => one.with);
  const fits = (user) => `${user} ${nameOf(user)}`.toLowerCase().includes(wanted.toLowerCase());
  const near = known.filter((user) => !wanted || fits(user));
  const users = [...new Set([...near, ...(state.found ?? [])])].filter((user) => user !== me());
  return { ...state, users, short: wanted && [...wanted].length < CHARACTERS_MIN };
}

function PeopleResult({ people, query, children }) {
  if (people.trouble) return html`<${Trouble} text=${people.trouble} />`;
  if (people.busy && !people.users.length) return html`<div class="middle"><${Spinner} label="Looking for people" /></div>`;
  if (people.users.length) return children;
  if (people.short) return html`<p class="hint">Type at least ${CHARACTERS_MIN} characters of a name.</p>`;
  if (!query.trim()) return html`<p class="hint">Type a name, a user name or a phone number to find people.</p>`;
  return html`<${Empty} title="Nobody found" text="Check how it is written. People are found by how their name or user name begins." />`;
}

const PersonRow = ({ user, ...rest }) => html`<${Row} ...${rest}
  avatar=${html`<${Avatar} id=${user} name=${nameOf(user)} />`} title=${nameOf(user)} detail=${user} />`;

export function NewChat() {
  const [query, setQuery] = useState('');
  const people = usePeople(query);
  const pick = (user) => { replace('/'); showChat(chatWith(user)); };
  return html`<${PanelHead} title="New chat" />
    <div class="panel-search"><input type="search" value=${query} onInput=${(event) => setQuery(event.target.value)}
      aria-label="Find people" placeholder="Find people" autocomplete="off" spellcheck="false" dir="auto" /></div>
    <div class="scroll">
      ${!query && html`<${Row} icon=${Group} title="New group" onClick=${() => go('/group')} />
        <${Row} icon=${Person} title="Note to yourself" onClick=${() => pick(me())} />`}
      <${PeopleResult} people=${people} query=${query}>
        <ul class="plain" aria-label="People">${people.users.map((user) => html`
          <li key=${user}><${PersonRow} user=${user} onClick=${() => pick(user)} /></li>`)}</ul>
      <//>
    </div>`;
}

/** Choosing several people; `taken` are in already. */
export function PeoplePicker({ picked, onPick, taken = [] }) {
  const [query, setQuery] = useState('');
  const people = usePeople(query);
  const field = useRef(null);
  const toggle = (user) => {
    onPick(picked.includes(user) ? picked.filter((one) => one !== user) : [...picked, user]);
    field.current.focus();
    setQuery('');
  };
  const users = people.users.filter((user) => !taken.includes(user));
  return html`<div class="panel-search">
      ${picked.length > 0 && html`<ul class="chips" aria-label="Chosen">${picked.map((user) => html`
        <li key=${user}><button type="button" class="chip" onClick=${() => toggle(user)} aria-label="Do not add ${nameOf(user)}">
          <span dir="auto">${nameOf(user)}</span><${Close} size=${16} /></button></li>`)}</ul>`}
      <input type="search" ref=${field} value=${query} onInput=${(event) => setQuery(event.target.value)}
        aria-label="Find people to add" placeholder="Find people to add" autocomplete="off" spellcheck="false" dir="auto" /></div>
    <div class="scroll">
      <${PeopleResult} people=${{ ...people, users }} query=${query}>
        <ul class="plain" aria-label="People">${users.map((user) => html`<li key=${user}>
          <${PersonRow} user=${user} aria-pressed=${picked.includes(user) ? 'true' : 'false'} onClick=${() => toggle(user)}
            extra=${html`<span class="pick ${picked.includes(user) ? 'on' : ''}">
              ${picked.includes(user) && html`<${Check} size=${16} />`}</span>`} /></li>`)}</ul>
      <//>
    </div>`;
}

export function NewGroup() {
  const [picked, setPicked] = useState([]);
  const [title, setTitle] = useState('');
  const [trouble, setTrouble] = useState('');
  const [busy, setBusy] = useState(false);
  const create = async (event) => {
    event.preventDefault();
    if (!title.trim()) { setTrouble('Give the group a name.'); return; }
    setBusy(true);
    setTrouble('');
    try {
      const info = await post('/v1/groups', { title: title.trim(), members: picked });
      await takeInfos([info]);
      replace(chatPath(info.chat));
    } catch (error) {
      setTrouble(plainWords(error));
      setBusy(false);
    }
  };
  return html`<${PanelHead} title="New group" to="/new" />
    <form class="panel-form" onSubmit=${create}>
      <${Field} label="Name of the group" value=${title} maxlength=${TITLE_CHARACTERS_MAX} dir="auto"
        onInput=${(event) => { setTitle(event.target.value); setTrouble(''); }} trouble=${trouble} />
      <button type="submit" class="main-button" disabled=${busy}>
        Create${picked.length ? ` with ${picked.length} ${picked.length === 1 ? 'person' : 'people'}` : ' group'}</button>
    </form>
    <${PeoplePicker} picked=${picked} onPick=${setPicked} />`;
}
