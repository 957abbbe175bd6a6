// The field to write in. What is typed is kept as a draft at every pause; a text leaves the
// field when it is safely in the outbox, and stays in it when that failed.

import { html, useEffect, useLayoutEffect, useRef, useState } from '../html.js';
import { bytesOf } from '../core/ids.js';
import { drafts, dropDraft, keepDraft } from '../core/drafts.js';
import { enqueue } from '../core/outbox.js';
import { limits, sendingPauses } from '../core/state.js';
import { one } from '../core/history.js';
import { plainWords } from '../core/errors.js';
import { stopTyping, typing } from '../core/attention.js';
import { youOr } from '../core/people.js';
import { Close, Send, Smile } from './icons.js';
import { EmojiPicker } from './emoji.js';
import { IconButton, tint } from './parts.js';

const NEAR_LIMIT = 0.9;
const HEIGHT_MAX_PX = 160;
const coarse = matchMedia('(pointer: coarse)');

export function Composer({ chat, replyTo, onReply, onSent, timeline }) {
  const [text, setText] = useState(() => drafts.peek().get(chat)?.text ?? '');
  const [trouble, setTrouble] = useState('');
  const [picking, setPicking] = useState(false);
  const field = useRef(null);
  const bytes = bytesOf(text);
  const most = limits.value.text_bytes;
  const over = bytes > most;

  useEffect(() => {
    if (!coarse.matches) field.current.focus({ preventScroll: true });
    const seq = drafts.peek().get(chat)?.reply_to;
    if (seq) one(chat, seq).then((item) => { if (item) onReply(item); }).catch(() => {});
    return stopTyping;
  }, [chat]);
  const replied = useRef(false);
  useEffect(() => {
    if (!replied.current) { replied.current = true; if (!replyTo) return; }
    keepDraft(chat, field.current.value, replyTo?.seq ?? null);
    if (replyTo) field.current.focus();
  }, [replyTo?.seq]);
  useLayoutEffect(() => {
    const { current } = field;
    current.style.height = 'auto';
    current.style.height = `${Math.min(HEIGHT_MAX_PX, current.scrollHeight)}px`;
  }, [text]);

  const change = (value) => {
    setText(value);
    setTrouble('');
    keepDraft(chat, value, replyTo?.seq ?? null);
    if (value.trim()) typing(chat);
    else stopTyping();
  };

  // The field is read and emptied at once: who types fast has begun the next one before the
  // database has this one.
  const show = (value) => {
    field.current.value = value;
    setText(value);
  };
  const send = async () => {
    const typed = field.current.value;
    const ready = typed.trim() ? typed.replace(/^\n+|\s+$/g, '') : '';
    if (!ready || bytesOf(ready) > most) return;
    const answered = replyTo?.seq ?? null;
    show('');
    setTrouble('');
    if (replyTo) onReply(null);
    dropDraft(chat);
    try {
      await enqueue(chat, ready, answered);
      stopTyping();
      onSent();
      timeline.showEnd();
    } catch (error) {
      const both = [ready, field.current?.value].filter(Boolean).join('\n');
      keepDraft(chat, both, answered);
      if (field.current) show(both);
      if (answered) onReply(replyTo);
      setTrouble(plainWords(error));
    }
  };

  const keys = (event) => {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === 'Enter' && !event.shiftKey && !coarse.matches) {
      event.preventDefault();
      send();
    } else if (event.key === 'Escape' && replyTo) {
      event.preventDefault();
      onReply(null);
    }
  };

  const insert = (emoji) => {
    const { selectionStart: start, selectionEnd: end } = field.current;
    change(text.slice(0, start) + emoji + text.slice(end));
    requestAnimationFrame(() => {
      field.current.focus();
      field.current.setSelectionRange(start + emoji.length, start + emoji.length);
    });
  };

  const pause = sendingPauses.value.get(chat);
  return html`<form class="composer" onSubmit=${(event) => { event.preventDefault(); send(); }}>
    ${replyTo && html`<div class="reply-bar tint-${tint(replyTo.from)}">
      <p><span class="quote-from" dir="auto">${youOr(replyTo.from)}</span>
        <span class="quote-text" dir="auto">${replyTo.text.slice(0, 200)}</span></p>
      <${IconButton} label="Do not reply" icon=${Close} onClick=${() => onReply(null)} /></div>`}
    ${pause && html`<p class="composer-note" role="status">${pause}</p>`}
    ${trouble && html`<p class="composer-note bad" role="alert">${trouble}</p>`}
    ${bytes > most * NEAR_LIMIT && html`<p class="composer-note ${over ? 'bad' : ''}" role="status">
      ${over ? `Too long by ${bytes - most} bytes. Shorten it, or send it in parts.` : `${most - bytes} bytes left.`}</p>`}
    ${picking && html`<${EmojiPicker} onPick=${insert} onClose=${() => { setPicking(false); field.current.focus(); }} />`}
    <div class="composer-line">
      <${IconButton} label="Emoji" icon=${Smile} aria-expanded=${picking ? 'true' : 'false'}
        onClick=${() => setPicking(!picking)} />
      <textarea ref=${field} rows="1" value=${text} aria-label="Message" placeholder="Message" dir="auto"
        aria-invalid=${over ? 'true' : undefined} enterkeyhint=${coarse.matches ? 'enter' : 'send'}
        onInput=${(event) => change(event.target.value)} onKeyDown=${keys} onBlur=${stopTyping}></textarea>
      <button type="submit" class="send" aria-label="Send" title="Send" disabled=${!text.trim() || over}><${Send} /></button>
    </div>
  </form>`;
}
