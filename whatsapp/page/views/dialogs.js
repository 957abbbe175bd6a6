// Dialogs: questions, small forms, menus. The browser's <dialog> holds the focus and closes on
// Escape; pressing beside it does, too.

import { html, signal, useEffect, useRef, useState } from '../html.js';
import { Close } from './icons.js';
import { IconButton } from './parts.js';
import { listen } from '../core/bus.js';
import { plainWords } from '../core/errors.js';

const open = signal([]);
listen('other-user', () => { open.value = []; });

/** Show a view in a dialog; it gets `close`. */
export function showDialog(view) {
  const entry = { view, key: Math.random() };
  open.value = [...open.peek(), entry];
  return () => { open.value = open.peek().filter((one) => one !== entry); };
}

export function Dialogs() {
  return open.value.map((entry) => html`<${Frame} key=${entry.key} entry=${entry} />`);
}

function Frame({ entry }) {
  const element = useRef(null);
  const close = () => { open.value = open.peek().filter((one) => one !== entry); };
  useEffect(() => {
    const before = document.activeElement;
    element.current.showModal();
    element.current.querySelector('[autofocus], [role=menuitem]')?.focus();
    return () => before?.focus?.({ preventScroll: true });
  }, []);
  return html`<dialog ref=${element} class="dialog" aria-labelledby="dialog-title" onClose=${close}
    onClick=${(event) => { if (event.target === element.current) close(); }}>
    <div class="dialog-inside">${entry.view({ close })}</div>
  </dialog>`;
}

export function DialogHead({ title, close }) {
  return html`<header class="dialog-head"><h2 id="dialog-title">${title}</h2>
    <${IconButton} label="Close" icon=${Close} onClick=${close} /></header>`;
}

/** Ask before doing. `act` may fail: what went wrong is said in the dialog. */
export const confirm = ({ danger = true, ...rest }) => ask({ danger, ...rest });

/** A question; with a `label`, a form with one field, whose value `act` gets. */
export function ask(question) {
  showDialog(({ close }) => html`<${Question} ...${question} close=${close} />`);
}

function Question({
  title, text, label, value = '', action = 'Save', danger = false, characters, act, rows = 0, type = 'text', close,
}) {
  const [typed, setTyped] = useState(value);
  const [busy, setBusy] = useState(false);
  const [trouble, setTrouble] = useState('');
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setTrouble('');
    try {
      await act(typed);
      close();
    } catch (error) {
      setTrouble(plainWords(error));
      setBusy(false);
    }
  };
  const over = characters && [...typed].length > characters;
  const input = {
    value: typed, onInput: (event) => setTyped(event.target.value), dir: 'auto', autofocus: true,
  };
  return html`<form onSubmit=${submit}>
    <h2 id="dialog-title">${title}</h2>
    ${text && html`<p>${text}</p>`}
    ${label && html`<label class="field"><span class="field-label">${label}</span>
      ${rows ? html`<textarea rows=${rows} ...${input}></textarea>` : html`<input type=${type} ...${input} />`}
    </label>`}
    ${over && html`<p class="field-trouble">${[...typed].length} of at most ${characters} characters.</p>`}
    ${trouble && html`<p class="field-trouble" role="alert">${trouble}</p>`}
    <div class="dialog-actions">
      <button type="button" class="quiet-button" onClick=${close}>Cancel</button>
      <button type="submit" class=${danger ? 'danger-button' : 'main-button'} disabled=${busy || over}>${action}</button>
    </div>
  </form>`;
}

/** A menu of actions: [{label, icon, act, danger}]; falsy ones are left out. */
export function menu(title, actions) {
  showDialog(({ close }) => html`<h2 id="dialog-title" class="unseen">${title}</h2>
    <div class="menu" role="menu" aria-label=${title} onKeyDown=${arrows}>
      ${actions.filter(Boolean).map(({ label, icon: Icon, act, danger }) => html`
        <button type="button" role="menuitem" class=${danger ? 'danger' : ''}
          onClick=${() => { close(); act(); }}><${Icon} />${label}</button>`)}
    </div>`);
}

function arrows(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const items = [...event.currentTarget.querySelectorAll('[role=menuitem]')];
  const at = items.indexOf(document.activeElement);
  items[(at + step + items.length) % items.length].focus();
}
