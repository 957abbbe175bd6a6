// Where the user is logged in; ending a login from afar.

import { html, useEffect, useState } from '../html.js';
import { at, get, remove } from '../core/rest.js';
import { dateAndTime, lastSeen } from '../core/clock.js';
import { plainWords } from '../core/errors.js';
import { confirm } from './dialogs.js';
import { PanelHead, Spinner, Trouble } from './parts.js';
import { Device } from './icons.js';

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
