// One WebSocket, kept up: hello, heartbeat, reconnecting with a jittered back-off. What the
// frames mean is not known here; `sync.js` gets them.

import { learnServerTime } from './clock.js';

const SUBPROTOCOL = 'whatsapp.v1.json';
const OPEN_TIMEOUT_MS = 10_000;
const ANSWER_TIMEOUT_MS = 10_000;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 30_000;
// A handshake refused this often while the server is well: it speaks another version.
const REFUSALS_MAX = 3;

const CLOSE_NO_TOKEN = 4001;
const CLOSE_REPLACED = 4009;
const CLOSE_REVOKED = 4010;
const CLOSE_FLOODING = 4029;

export class Link {
  /** `hello()` gives the first frame. `on`: frame, state, ended(code, reason), welcome, down. */
  constructor(hello, on) {
    this.hello = hello;
    this.on = on;
    this.socket = null;
    this.failures = 0;
    this.refusals = 0;
    this.stopped = false;
    this.timers = { retry: 0, beat: 0, answer: 0, open: 0 };
  }

  start() {
    this.stopped = false;
    this.connect();
  }

  stop() {
    this.stopped = true;
    this.drop(1000);
  }

  get live() { return this.welcomed; }

  /** False where there is no connection; nothing is kept. */
  send(frame) {
    if (!this.welcomed || this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  /** Somebody looks, or the network is back: do not wait any longer. */
  hurry() {
    if (this.stopped) return;
    if (!this.socket && this.timers.retry) this.connect();
    else if (this.welcomed) this.ping();
  }

  /** The browser says that the network is gone: its silence need not be waited for. */
  cut() {
    if (!this.stopped && this.socket) this.lost();
  }

  async connect() {
    clearTimeout(this.timers.retry);
    this.timers.retry = 0;
    this.drop(1000);
    this.down();
    const socket = new WebSocket(
      `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/v1/ws`, [SUBPROTOCOL]);
    this.socket = socket;
    this.opened = false;
    this.on.state('connecting', 0);
    const mine = (work) => (event) => { if (this.socket === socket) work(event); };
    socket.onopen = mine(async () => {
      this.opened = true;
      if (socket.protocol !== SUBPROTOCOL) { this.version(); return; }
      const frame = await this.hello();
      if (this.socket === socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(frame));
    });
    socket.onmessage = mine(({ data }) => this.heard(data));
    socket.onclose = mine(({ code, reason }) => this.closed(code, reason));
    this.timers.open = setTimeout(mine(() => { if (!this.welcomed) this.lost(); }), OPEN_TIMEOUT_MS);
  }

  heard(data) {
    clearTimeout(this.timers.answer);
    this.timers.answer = 0;
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      this.lost();
      return;
    }
    if (frame.type === 'welcome') this.welcome(frame);
    else if (frame.type === 'pong') learnServerTime(frame.time);
    else if (frame.type === 'draining') this.away(frame.reconnect_ms);
    else this.on.frame(frame);
  }

  welcome(frame) {
    clearTimeout(this.timers.open);
    this.welcomed = true;
    this.failures = 0;
    this.refusals = 0;
    learnServerTime(frame.time);
    const beatMs = Math.max(2_000, (frame.limits.heartbeat_s * 1000) / 2);
    clearInterval(this.timers.beat);
    this.timers.beat = setInterval(() => this.ping(), beatMs);
    this.on.welcome(frame);
  }

  /** Silence for too long after this, and the connection is taken for dead. */
  ping() {
    if (this.timers.answer || !this.send({ type: 'ping' })) return;
    this.timers.answer = setTimeout(() => this.lost(), ANSWER_TIMEOUT_MS);
  }

  lost() {
    this.drop(4000);
    this.down();
    this.later(this.backoff());
  }

  away(reconnectMs) {
    this.drop(1000);
    this.down();
    this.later(reconnectMs * (1 + Math.random()));
  }

  closed(code, reason) {
    const opened = this.opened;
    this.drop();
    this.down();
    if (code === CLOSE_NO_TOKEN || code === CLOSE_REVOKED) this.on.ended(code, reason);
    else if (code === CLOSE_REPLACED) this.on.state('replaced', 0);
    else if (code === CLOSE_FLOODING) this.later(Number(/(\d+) ms/.exec(reason)?.[1] ?? 5_000) + Math.random() * 1_000);
    else if (!opened) this.refused();
    else this.later(this.backoff());
  }

  /** The handshake failed: is the server away, or does it not want what we offer? */
  async refused() {
    this.refusals += 1;
    this.later(this.backoff());
    if (this.refusals < REFUSALS_MAX) return;
    try {
      const well = await fetch('/readyz', { cache: 'no-store' });
      if (well.ok && this.refusals >= REFUSALS_MAX && !this.welcomed) this.version();
    } catch { this.refusals = 0; }
  }

  version() {
    this.drop(1000);
    this.later(BACKOFF_MAX_MS, 'version');
  }

  backoff() {
    const most = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** this.failures);
    this.failures += 1;
    return most * (0.5 + Math.random() / 2);
  }

  later(delayMs, state = 'waiting') {
    if (this.stopped) return;
    clearTimeout(this.timers.retry);
    this.timers.retry = setTimeout(() => this.connect(), delayMs);
    this.on.state(state, Date.now() + delayMs);
  }

  down() {
    if (this.welcomed) this.on.down();
    this.welcomed = false;
  }

  drop(code) {
    clearInterval(this.timers.beat);
    clearTimeout(this.timers.answer);
    clearTimeout(this.timers.open);
    this.timers.answer = 0;
    const socket = this.socket;
    this.socket = null;
    if (socket && code) socket.close(code);
  }
}
