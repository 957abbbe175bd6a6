// IndexedDB: what this browser keeps. A transaction is a promise; it rejects with a `Refused`
// that can be shown.

import { storageError } from './errors.js';

const NAME = 'messages';
const VERSION = 1;

let opened = null;

function openDatabase() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = () => build(request.result);
    request.onsuccess = () => {
      const database = request.result;
      // Another tab wants a newer layout, or to wipe: do not stand in its way.
      database.onversionchange = () => { database.close(); opened = null; };
      database.onclose = () => { opened = null; };
      resolve(database);
    };
    request.onerror = () => { opened = null; reject(storageError(request.error)); };
  });
  return opened;
}

function build(database) {
  database.createObjectStore('meta');
  database.createObjectStore('chats', { keyPath: 'chat' });
  database.createObjectStore('messages', { keyPath: ['chat', 'seq'] });
  const outbox = database.createObjectStore('outbox', { keyPath: 'n', autoIncrement: true });
  outbox.createIndex('id', 'id', { unique: true });
  outbox.createIndex('chat', 'chat');
  database.createObjectStore('people', { keyPath: 'user' });
  database.createObjectStore('drafts', { keyPath: 'chat' });
}

export const STORES = ['meta', 'chats', 'messages', 'outbox', 'people', 'drafts'];

/** A request of IndexedDB as a promise; only to be awaited inside of `transact`. */
export function asked(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function transact(mode, stores, work, atOnce = false) {
  const database = await openDatabase();
  return new Promise((resolve, reject) => {
    let transaction;
    try {
      transaction = database.transaction(stores, mode);
    } catch (error) {
      opened = null;
      reject(storageError(error));
      return;
    }
    let result;
    let failure = null;
    transaction.oncomplete = () => resolve(result);
    transaction.onabort = () => reject(storageError(failure ?? transaction.error));
    const of = Object.fromEntries(stores.map((name) => [name, transaction.objectStore(name)]));
    const fail = (error) => {
      failure = error;
      try { transaction.abort(); } catch { /* it has ended by itself */ }
    };
    try {
      work(of).then((value) => { result = value; }, fail);
      // Otherwise the page has to live until the requests are answered.
      if (atOnce) transaction.commit?.();
    } catch (error) {
      fail(error);
    }
  });
}

/** `work` gets the stores by name, and may await nothing but `asked`. */
export const reading = (stores, work) => transact('readonly', stores, work);
export const writing = (stores, work) => transact('readwrite', stores, work);
/** For what exists nowhere else: does not need the page any more. `work` asks for all at once. */
export const writingAtOnce = (stores, work) => transact('readwrite', stores, work, true);

export const getMeta = (key) => reading(['meta'], ({ meta }) => asked(meta.get(key)));
export const putMeta = (key, value) => writing(['meta'], ({ meta }) => asked(meta.put(value, key)));

/** Everything of one user goes before another one's comes. */
export function wipe() {
  return writing(STORES, async (stores) => {
    for (const name of STORES) await asked(stores[name].clear());
  });
}

/** All messages of a chat from `first` to `last`, in order. */
export function rangeOf(chat, first, last) {
  return IDBKeyRange.bound([chat, first], [chat, last]);
}
