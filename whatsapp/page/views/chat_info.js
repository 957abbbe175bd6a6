// About a chat: the other one of a direct chat; a group's members, roles, invitation, rules.

import { html, useEffect, useState } from '../html.js';
import { at, call, patch, post, put, remove } from '../core/rest.js';
import { back, chatPath, showChat } from '../core/route.js';
import { blocks, nameOf, people, presence, want } from '../core/people.js';
import { chatWith, recordOf, refreshChat, takeInfos } from '../core/chats.js';
import { me, say } from '../core/state.js';
import { lastSeen } from '../core/clock.js';
import { plainWords } from '../core/errors.js';
import { ask, confirm, DialogHead, menu, showDialog } from './dialogs.js';
import { copy } from './message.js';
import { PeoplePicker } from './new_chat.js';
import { setBlocked } from './settings.js';
import { titleOf } from './chat_list.js';
import { Avatar, IconButton, Row, Trouble } from './parts.js';
import { Back, Bin, Block, Check, Close, Copy, Edit, Group, Horn, Info, Leave, Link, More, Person, Plus } from './icons.js';

const ROLE_NAMES = { owner: 'Owner', admin: 'Admin', member: '' };
const SHOWN_AT_FIRST = 30;

export function ChatInfo({ chat }) {
  const record = recordOf(chat);
  const group = record.kind === 'group';
  useEffect(() => { refreshChat(chat).catch(() => {}); }, [chat]);
  return html`<header class="bar">
      <${IconButton} label="Back" icon=${Back} class="phone-only" onClick=${() => back(chatPath(chat))} />
      <${IconButton} label="Close details" icon=${Close} class="desk-only" onClick=${() => back(chatPath(chat))} />
      <h2 class="bar-title">${group ? 'About the group' : 'About the chat'}</h2>
    </header>
    <div class="scroll">
      <div class="profile">
        <${Avatar} id=${record.with ?? chat} name=${titleOf(record)} group=${group} size="huge" />
        <p class="profile-name" dir="auto">${titleOf(record)}</p>
        <p class="quiet">${group ? `Group · ${record.members?.length ?? '…'} members` : record.with}</p>
      </div>
      ${group ? html`<${GroupParts} record=${record} />` : html`<${PersonParts} record=${record} />`}
    </div>`;
}

function PersonParts({ record }) {
  const user = record.with;
  useEffect(() => { want(user); }, [user]);
  if (user === me()) return html`<p class="hint">What you write here only you see, on all your devices.</p>`;
  const seen = presence.value.get(user);
  const about = people.value.get(user)?.about;
  const blocked = blocks.value.has(user);
  const name = nameOf(user);
  const block = () => confirm({
    title: blocked ? `Unblock ${name}?` : `Block ${name}?`,
    text: blocked ? 'You get messages from each other again.'
      : 'Messages to you will not arrive, and neither of you sees the other online. They are not told.',
    action: blocked ? 'Unblock' : 'Block', danger: !blocked,
    act: () => setBlocked(user, !blocked),
  });
  return html`<section class="block">
      ${about && html`<p class="about" dir="auto">${about}</p>`}
      ${seen && (seen.online || seen.last_seen) && html`<p class="quiet pad">${seen.online ? 'online' : lastSeen(seen.last_seen)}</p>`}
      <${Row} icon=${Copy} title="Copy user name" onClick=${() => copy(user)} />
      <${Row} icon=${Block} class="danger" title=${blocked ? `Unblock ${name}` : `Block ${name}`} onClick=${block} />
    </section>`;
}

function GroupParts({ record }) {
  const { chat, role, announce, about } = record;
  const [trouble, setTrouble] = useState('');
  const managing = role === 'owner' || role === 'admin';
  const wish = async (change) => takeInfos([await patch(at`/v1/groups/${chat}`, change)]);
  const rename = () => ask({
    title: 'Name of the group', label: 'Name', value: record.title, characters: 100, act: (title) => wish({ title: title.trim() }),
  });
  const describe = () => ask({
    title: 'Description', label: 'Description', value: about, characters: 512, rows: 4, act: (text) => wish({ about: text.trim() }),
  });
  const leave = () => confirm({
    title: `Leave “${record.title}”?`, text: 'You keep what was said until now. New messages will not reach you.', action: 'Leave',
    act: async () => { await remove(at`/v1/groups/${chat}/members/${me()}`); await refreshChat(chat); },
  });
  if (record.left) return html`<p class="hint">You are no longer a member of this group.</p>`;
  return html`<${Trouble} text=${trouble} />
    <section class="block">
      ${about && html`<p class="about" dir="auto">${about}</p>`}
      ${managing && html`<${Row} icon=${Edit} title="Change name" onClick=${rename} />
        <${Row} icon=${Info} title=${about ? 'Change description' : 'Add a description'} onClick=${describe} />
        <label class="setting"><span class="row-icon"><${Horn} /></span><span class="grow"><span class="row-title">Only admins send</span>
            <span class="row-detail">Others only read.</span></span>
          <input type="checkbox" role="switch" class="switch" checked=${announce}
            onChange=${(event) => wish({ announce: event.target.checked }).then(() => setTrouble(''), (error) => setTrouble(plainWords(error)))} /></label>
        <${Row} icon=${Link} title="Invite by link"
          onClick=${() => showDialog((dialog) => html`<${InviteLink} ...${dialog} chat=${chat} />`)} />`}
      ${!managing && announce && html`<p class="quiet pad">Only admins can send messages here.</p>`}
    </section>
    <${Members} record=${record} managing=${managing} />
    <section class="block"><${Row} icon=${Leave} class="danger" title="Leave the group" onClick=${leave} /></section>`;
}

function Members({ record, managing }) {
  const [all, setAll] = useState(false);
  const members = [...(record.members ?? [])].sort((one, other) =>
    (other.user === me()) - (one.user === me()) || rank(one) - rank(other)
      || nameOf(one.user).localeCompare(nameOf(other.user)));
  const shown = all ? members : members.slice(0, SHOWN_AT_FIRST);
  return html`<section class="block" aria-label="Members">
    <h3 class="block-title">Members</h3>
    ${managing && html`<${Row} icon=${Plus} title="Add members"
      onClick=${() => showDialog((dialog) => html`<${AddMembers} ...${dialog} record=${record} />`)} />`}
    <ul class="plain">${shown.map((member) => html`<li key=${member.user}><${MemberRow} member=${member} record=${record} /></li>`)}</ul>
    ${shown.length < members.length && html`<button type="button" class="quiet-button wide" onClick=${() => setAll(true)}>Show all ${members.length}</button>`}
  </section>`;
}

const rank = ({ role }) => ['owner', 'admin', 'member'].indexOf(role);

function MemberRow({ member, record }) {
  const { user, role } = member;
  const name = nameOf(user);
  const self = user === me();
  return html`<${Row} avatar=${html`<${Avatar} id=${user} name=${name} size="small" />`} title=${self ? `${name} (you)` : name}
    detail=${user} disabled=${self} onClick=${() => memberMenu(member, record)}
    extra=${html`${ROLE_NAMES[role] && html`<span class="role">${ROLE_NAMES[role]}</span>`}${!self && html`<${More} size=${18} />`}`} />`;
}

function memberMenu({ user, role }, record) {
  const { chat } = record;
  const name = nameOf(user);
  const owner = record.role === 'owner';
  const managing = owner || record.role === 'admin';
  const setRole = (wanted, title) => confirm({
    title, action: 'Yes', danger: false,
    act: async () => { await put(at`/v1/groups/${chat}/members/${user}/role`, { role: wanted }); await refreshChat(chat); },
  });
  menu(name, [
    { label: `Message ${name}`, icon: Person, act: () => showChat(chatWith(user)) },
    owner && role !== 'owner' && { label: 'Make owner', icon: Check, act: () => setRole('owner', `Make ${name} an owner?`) },
    owner && role !== 'admin' && { label: 'Make admin', icon: Check, act: () => setRole('admin', `Make ${name} an admin?`) },
    owner && role !== 'member' && { label: 'Make ordinary member', icon: Group, act: () => setRole('member', `Make ${name} an ordinary member?`) },
    managing && (owner || role !== 'owner') && {
      label: 'Remove from group', icon: Bin, danger: true,
      act: () => confirm({
        title: `Remove ${name}?`, text: 'New messages will not reach them.', action: 'Remove',
        act: async () => { await remove(at`/v1/groups/${chat}/members/${user}`); await refreshChat(chat); },
      }),
    },
  ]);
}

function AddMembers({ record, close }) {
  const [picked, setPicked] = useState([]);
  const [trouble, setTrouble] = useState('');
  const add = async () => {
    try {
      const { added } = await post(at`/v1/groups/${record.chat}/members`, { users: picked });
      await refreshChat(record.chat);
      say(added.length === 1 ? `${nameOf(added[0])} was added.` : `${added.length} people were added.`);
      close();
    } catch (error) {
      setTrouble(plainWords(error));
    }
  };
  return html`<${DialogHead} title="Add members" close=${close} />
    <${Trouble} text=${trouble} />
    <div class="dialog-picker"><${PeoplePicker} picked=${picked} onPick=${setPicked} taken=${(record.members ?? []).map(({ user }) => user)} /></div>
    <div class="dialog-actions"><button type="button" class="main-button" disabled=${!picked.length} onClick=${add}>
      Add${picked.length ? ` ${picked.length}` : ''}</button></div>`;
}

function InviteLink({ chat, close }) {
  const [code, setCode] = useState('');
  const [trouble, setTrouble] = useState('');
  const act = async (method) => {
    setTrouble('');
    try {
      const answer = await call(method, at`/v1/groups/${chat}/invite`);
      setCode(answer?.code ?? '');
      if (method === 'DELETE') { say('The link does not work any more.'); close(); }
    } catch (error) {
      setTrouble(plainWords(error));
    }
  };
  const link = `${location.origin}/#join=${code}`;
  return html`<${DialogHead} title="Invite by link" close=${close} />
    <${Trouble} text=${trouble} />
    ${code ? html`<p>Who has this link and an account here can join.</p>
      <p class="invite" data-testid="invite-link">${link}</p>
      <div class="dialog-actions"><button type="button" class="quiet-button danger" onClick=${() => act('DELETE')}>End the link</button>
        <button type="button" class="main-button" onClick=${() => copy(link)}>Copy</button></div>`
    : html`<p>Makes a link with which people can join by themselves. A link made before stops working.</p>
      <div class="dialog-actions"><button type="button" class="quiet-button danger" onClick=${() => act('DELETE')}>End an old link</button>
        <button type="button" class="main-button" onClick=${() => act('POST')}>Make a link</button></div>`}`;
}
