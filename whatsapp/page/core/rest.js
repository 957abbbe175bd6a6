// REST: one call, its answer or a `Refused`. The token comes from the session.

import { OFFLINE, Refused } from './errors.js';

const TIMEOUT_MS = 20_000;

let token = null;
let onUnauthorized = () => {};

export function useToken(value) { token = value; }
export function whenUnauthorized(listener) { onUnauthorized = listener; }

const path = (parts, ...values) =>
  parts.reduce((whole, part, n) => whole + encodeURIComponent(values[n - 1]) + part);

/** A path whose values are escaped: at`/v1/chats/${chat}`. */
export const at = path;

export async function call(method, address, body, query) {
  const search = query ? `?${new URLSearchParams(query)}` : '';
  const used = token;
  let response;
  let answer;
  try {
    response = await fetch(address + search, {
      method,
      headers: {
        ...(used && { Authorization: `Bearer ${used}` }),
        ...(body && { 'Content-Type': 'application/json' }),
      },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
      cache: 'no-store',
      credentials: 'omit',
    });
    answer = response.status === 204 ? null : await response.json();
  } catch {
    if (response?.ok === false || response?.ok) {
      throw new Refused('internal', 'The server answered something that this page does not understand');
    }
    throw new Refused(OFFLINE, 'No connection to the server. Check your network', { retryable: true });
  }
  if (response.ok) return answer;
  const refused = new Refused(answer.code ?? 'internal', answer.detail ?? 'The server refused it', {
    retryable: response.status === 429 || response.status >= 500,
    retryAfterMs: answer.retry_after_ms ?? null,
    status: response.status,
  });
  if (refused.code === 'unauthorized' && used && used === token) onUnauthorized();
  throw refused;
}

export const get = (address, query) => call('GET', address, undefined, query);
export const post = (address, body) => call('POST', address, body);
export const patch = (address, body) => call('PATCH', address, body);
export const put = (address, body) => call('PUT', address, body);
export const remove = (address, body) => call('DELETE', address, body);
