// A small choice of emoji, for keyboards that have none.

import { html } from '../html.js';

const EMOJI = ('😀 😂 🤣 😊 😍 😘 😎 🤔 😅 😉 🙂 🙃 😴 😢 😭 😡 😱 🥳 🤗 🙄 '
  + '👍 👎 👏 🙏 💪 👋 🤝 ✌️ 👌 🤞 ❤️ 💛 💚 💙 💔 🔥 ⭐ 🎉 🎂 🎁 '
  + '☀️ 🌧️ 🌈 🌸 🌲 🐶 🐱 🐦 🐟 🍎 🍕 🍝 🍰 ☕ 🍺 🍷 ⚽ 🚲 🚆 ✈️ 🏠 ⏰ ✅ ❌').split(' ');

export function EmojiPicker({ onPick, onClose }) {
  const keys = (event) => {
    if (event.key === 'Escape') { event.stopPropagation(); onClose(); return; }
    const all = [...event.currentTarget.children];
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 8, ArrowUp: -8 }[event.key];
    if (!step) return;
    event.preventDefault();
    all[Math.min(all.length - 1, Math.max(0, all.indexOf(document.activeElement) + step))].focus();
  };
  return html`<div class="emoji" role="group" aria-label="Emoji" onKeyDown=${keys}>
    ${EMOJI.map((emoji) => html`<button type="button" key=${emoji} onClick=${() => onPick(emoji)}>${emoji}</button>`)}
  </div>`;
}
