// The user's own account: name, about, privacy, blocked people, password, leaving; and the devices
// where it is logged in.

import { html, useEffect, useState } from '../html.js';
import { blocks, nameOf, profile, refreshProfile, takeBlocks, takeProfile } from '../core/people.js';
import { call, at, get, patch, post, remove } from '../core/rest.js';
import { dateAndTime, lastSeen } from '../core/clock.js';
import { durable, me, say } from '../core/state.js';
import { go } from '../core/route.js';
import { logout, unsentCount } from '../core/account.js';
import { plainWords } from '../core/errors.js';
import { ask, confirm, DialogHead, showDialog } from './dialogs.js';
import { copy } from './message.js';
import { Avatar, Field, PanelHead, Row, Spinner, Trouble } from './parts.js';
import { Bin, Block, Copy, Device, Edit, Info, Leave } from './icons.js';

const NAME_CHARACTERS_MAX = 64;
const ABOUT_CHARACTERS_MAX = 512;
const SEEN_BY = { everyone: 'Everybody', contacts: 'My contacts', nobody: 'Nobody' };

const change = async (wish) => takeProfile(await patch('/v1/me', wish));

export function Settings() {
  const mine = profile.value;
  const [trouble, setTrouble] = useState('');
  const load = () => refreshProfile().then(() => setTrouble(''), (error) => { if (!profile.peek()) setTrouble(plainWords(error)); });
  useEffect(() => { load(); }, []);
  return html`<${PanelHead} title="Settings" />
    <div class="scroll">
      <${Trouble} text=${trouble} onRetry=${load} />
      ${mine && html`<${Mine} mine=${mine} /><${Privacy} mine=${mine} onTrouble=${setTrouble} />`}
      <section class="block" aria-label="Account">
        <${Row} icon=${Device} title="Devices" detail="Where you are logged in" onClick=${() => go('/devices')} />
        <${Row} icon=${Edit} title="Change password" onClick=${changePassword} />
        <${Row} icon=${Leave} title="Log out" detail="Removes your messages from this device" onClick=${askLogout} />
        <${Row} icon=${Bin} class="danger" title="Delete account" onClick=${erase} />
      </section>
      ${!durable.value && html`<p class="hint">This server keeps messages in memory only: they are gone when it stops.</p>`}
      <p class="hint">For programmers: <a href="/docs" target="_blank" rel="noopener">the API of this server</a></p>
    </div>`;
}

function Mine({ mine }) {
  const edit = (what, label, characters, rows = 0) => ask({
    title: label, label, value: mine[what], characters, rows,
    act: (value) => change({ [what]: value.trim() }),
  });
  return html`<div class="profile"><${Avatar} id=${mine.user} name=${mine.name} size="huge" /></div>
    <section class="block" aria-label="Profile">
      <${Row} icon=${Edit} title=${mine.name} detail="Your name" onClick=${() => edit('name', 'Your name', NAME_CHARACTERS_MAX)} />
      <${Row} icon=${Info} title=${mine.about || 'Say something about yourself'} detail="About"
        onClick=${() => edit('about', 'About you', ABOUT_CHARACTERS_MAX, 3)} />
      <${Row} icon=${Copy} title=${mine.user} detail="Your user name; others find you by it" onClick=${() => copy(mine.user)} />
    </section>`;
}

function Privacy({ mine, onTrouble }) {
  const { last_seen: seen, receipts } = mine.privacy;
  const set = (privacy) => change({ privacy }).then(() => onTrouble(''), (error) => onTrouble(plainWords(error)));
  const blocked = blocks.value.size;
  return html`<section class="block" aria-label="Privacy">
    <h2 class="block-title">Privacy</h2>
    <label class="setting"><span><span class="row-title">Last seen and online</span>
        <span class="row-detail">Whom you do not show it, you do not see either.</span></span>
      <select value=${seen} onChange=${(event) => set({ last_seen: event.target.value })}>
        ${Object.entries(SEEN_BY).map(([value, label]) => html`<option value=${value} selected=${value === seen}>${label}</option>`)}
      </select></label>
    <label class="setting"><span><span class="row-title">Read receipts</span>
        <span class="row-detail">Blue ticks, both ways. Groups always have them.</span></span>
      <input type="checkbox" class="switch" role="switch" checked=${receipts} onChange=${(event) => set({ receipts: event.target.checked })} /></label>
    <${Row} icon=${Block} title="Blocked people" detail=${blocked ? String(blocked) : 'None'}
      onClick=${() => showDialog((dialog) => html`<${Blocked} ...${dialog} />`)} />
  </section>`;
}

function Blocked({ close }) {
  const [trouble, setTrouble] = useState('');
  const users = [...blocks.value];
  const unblock = async (user) => {
    try { await setBlocked(user, false); } catch (error) { setTrouble(plainWords(error)); }
  };
  return html`<${DialogHead} title="Blocked people" close=${close} />
    <${Trouble} text=${trouble} />
    ${users.length === 0 && html`<p>You block nobody. You can block somebody from the details of your chat.</p>`}
    <ul class="plain">${users.map((user) => html`<li key=${user} class="person">
      <${Avatar} id=${user} name=${nameOf(user)} size="tiny" /><span class="grow" dir="auto">${nameOf(user)}</span>
      <button type="button" class="quiet-button" onClick=${() => unblock(user)}>Unblock</button></li>`)}</ul>`;
}

export async function setBlocked(user, on) {
  await call(on ? 'PUT' : 'DELETE', at`/v1/blocks/${user}`);
  await takeBlocks(await get('/v1/blocks'));
}

const changePassword = () => showDialog((dialog) => html`<${Password} ...${dialog} />`);

function Password({ close }) {
  const [values, setValues] = useState({ old: '', new: '' });
  const [trouble, setTrouble] = useState({ field: '', text: '' });
  const set = (name) => (event) => setValues({ ...values, [name]: event.target.value });
  const submit = async (event) => {
    event.preventDefault();
    try {
      await post('/v1/me/password', values);
      say('Password changed. Your other devices were logged out.');
      close();
    } catch (error) {
      const wrong = error.code === 'bad_credentials';
      const field = wrong ? 'old' : error.code === 'weak_password' ? 'new' : '';
      setTrouble({ field, text: wrong ? 'This is not your present password.' : plainWords(error) });
    }
  };
  const at0 = (name) => (trouble.field === name ? trouble.text : '');
  return html`<form onSubmit=${submit}><h2 id="dialog-title">Change password</h2>
    <input class="unseen" tabindex="-1" aria-hidden="true" autocomplete="username" value=${me()} readonly />
    <${Field} label="Present password" type="password" value=${values.old} 
      onInput=${set('old')} trouble=${at0('old')} autocomplete="current-password" />
    <${Field} label="New password" type="password" value=${values.new} onInput=${set('new')}
      trouble=${at0('new')} hint="At least 8 characters." autocomplete="new-password" />
    ${!trouble.field && trouble.text && html`<p class="field-trouble" role="alert">${trouble.text}</p>`}
    <div class="dialog-actions"><button type="button" class="quiet-button" onClick=${close}>Cancel</button>
      <button type="submit" class="main-button">Change</button></div></form>`;
}

async function askLogout() {
  const unsent = await unsentCount().catch(() => 0);
  confirm({
    title: 'Log out?',
    text: unsent
      ? `${unsent === 1 ? 'A message is' : `${unsent} messages are`} not sent yet and would be lost. What the server has stays there.`
      : 'Your messages are removed from this device. The server keeps them.',
    action: 'Log out',
    act: logout,
  });
}

const erase = () => ask({
  title: 'Delete account',
  text: 'Your profile, devices and memberships are gone for good. What you wrote stays in its chats, without your name. Nobody can take your user name.',
  label: 'Password', type: 'password', action: 'Delete for good',
  act: async (password) => {
    await remove('/v1/me', { password });
    await logout();
  },
});

export function Devices() {
  const [devices, setDevices] = useState(null);
  const [trouble, setTrouble] = useState('');
  const load = async () => {
    try {
      setDevices(await get('/v1/devices'));
      setTrouble('');
    } catch (error) {
      setTrouble(plainWords(error));
    }
  };
  useEffect(() => { load(); }, []);
  const end = ({ device, name }) => confirm({
    title: `Log out “${name}”?`, text: 'It has to log in again to see new messages.', action: 'Log out',
    act: async () => { await remove(at`/v1/devices/${device}`); await load(); },
  });
  const sorted = [...(devices ?? [])].sort((one, other) => other.current - one.current || other.last_seen - one.last_seen);
  return html`<${PanelHead} title="Devices" to="/settings" />
    <div class="scroll"><${Trouble} text=${trouble} onRetry=${load} />
      ${!devices && !trouble && html`<div class="middle"><${Spinner} /></div>`}
      <ul class="plain" aria-label="Devices">${sorted.map((one) => html`<li key=${one.device} class="device">
        <span class="row-icon"><${Device} /></span>
        <span class="row-text"><span class="row-title" dir="auto">${one.name || 'Unnamed device'}</span>
          <span class="row-detail">${one.current ? 'This device' : lastSeen(one.last_seen)} · since ${dateAndTime(one.created)}</span></span>
        ${!one.current && html`<button type="button" class="quiet-button" aria-label="Log out ${one.name}" onClick=${() => end(one)}>Log out</button>`}
      </li>`)}</ul>
    </div>`;
}
