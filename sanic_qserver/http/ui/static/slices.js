// Work in slices: the browser draws and hears between them, so that nothing blocks the page for long.

const SLICE_MS = 8;
const LONG = 100_000;
const channel = new MessageChannel();
/** @type {(() => void)[]} */
let waiting = [];
let next = 0;

channel.port1.onmessage = () => {
  const until = performance.now() + SLICE_MS;
  try {
    do waiting[next++]();
    while (next < waiting.length && performance.now() < until);
  } finally {
    if (next < waiting.length) channel.port2.postMessage(0);
    else {
      waiting = [];
      next = 0;
    }
  }
};

/** Do it soon, after what waits already. @param {() => void} job */
export function enqueue(job) {
  waiting.push(job);
  if (waiting.length === 1) channel.port2.postMessage(0);
}

/** Let the browser have its turn. @returns {Promise<void>} */
export const turn = () => new Promise((resolve) => enqueue(resolve));

/** For loops: `await pause()` lets the browser have its turn when a slice of time is used up. */
export function pacer() {
  let until = performance.now() + SLICE_MS;
  return async () => {
    if (performance.now() < until) return;
    await turn();
    until = performance.now() + SLICE_MS;
  };
}

const SNAPSHOT = /^\{"id":[^,]*,"time":[^,]*,"topic":"\w+","type":"snapshot","data":\{"items":\[/;

/**
 * JSON.parse of an event; a long snapshot's items are parsed in pieces.
 * A piece ends between two objects. Whether these are objects of the list is seen by parsing: inside a text or an inner
 * list, brackets or quotes remain open, and the piece is no JSON.
 * @param {string} text
 */
export async function parseEvent(text) {
  const begin = text.length > LONG ? (SNAPSHOT.exec(text)?.[0].length ?? 0) : 0;
  if (!begin) return JSON.parse(text);
  /** @type {any[]} */
  let items = [];
  let from = begin;
  for (let at = from, tries = 0; tries < 100; tries++) {
    at = text.indexOf("},{", Math.max(at + 1, from + LONG));
    if (at < 0) break;
    try {
      items = items.concat(JSON.parse(`[${text.slice(from, at + 1)}]`));
    } catch {
      continue;
    }
    from = at + 2;
    tries = 0;
    await turn();
  }
  const event = JSON.parse(text.slice(0, begin) + text.slice(from));
  event.data.items = items.concat(event.data.items);
  return event;
}
