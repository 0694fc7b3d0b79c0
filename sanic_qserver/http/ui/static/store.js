// One store of what is so, fed by the server's events. Panels listen to topics and read; they never write here.
import { ApiError, ask, get, secrets } from "./api.js";
import { called } from "./items.js";
import { enqueue, pacer, parseEvent } from "./slices.js";
import { T } from "./texts.js";

const LINES_KEPT = 10_000;
const LINES_FETCHED = 1000;
const HISTORY_PAGE = 300;
const SILENCE_MS = 30_000;
const RETRY_MS = 3000;

/** @type {{connection: string, isAvailable: boolean, status: any, queue: any[], queueSeen: boolean, running: any, history: any[], historySeen: boolean, historyTotal: number, runs: any[], lock: any, lines: string[], firstLine: number, me: {names: Set<string>, roles: string[], scopes: Set<string>, label: string, isKnown: boolean, info: any}, plans: Record<string, any>|null, devices: Record<string, any>|null, proposals: any[], proposalsSeen: boolean}} */
export const state = {
  connection: "connecting",
  isAvailable: true,
  status: null,
  queue: [],
  queueSeen: false,
  running: null,
  history: [],
  historySeen: false,
  historyTotal: 0,
  runs: [],
  lock: null,
  lines: [],
  firstLine: 0,
  me: { names: new Set(), roles: [], scopes: new Set(), label: "", isKnown: false, info: null },
  plans: null,
  devices: null,
  proposals: [],
  proposalsSeen: false,
};

/** @type {Map<string, Set<() => void>>} */
const listeners = new Map();
/** @type {Set<string>} */
const changed = new Set();
let isScheduled = false;

/** Call `listener` after changes of any of the topics, and now. @param {string} topics by space @param {() => void} listener */
export function on(topics, listener) {
  for (const topic of topics.split(" ")) {
    const all = listeners.get(topic) ?? new Set();
    listeners.set(topic, all.add(listener));
  }
  listener();
}

/** Tell the listeners, all topics of a moment at once. @param {...string} topics */
export function tell(...topics) {
  for (const topic of topics) changed.add(topic);
  if (isScheduled) return;
  isScheduled = true;
  if (document.hidden) setTimeout(flush, 200);
  else requestAnimationFrame(flush);
}

function flush() {
  const due = new Set([...changed].flatMap((topic) => [...(listeners.get(topic) ?? [])]));
  changed.clear();
  for (const listener of due) enqueue(listener);
  enqueue(() => {
    isScheduled = false;
    if (changed.size) tell();
  });
}

/** May the caller? One of the scopes is enough. @param {...string} scopes */
export const may = (...scopes) => scopes.some((scope) => state.me.scopes.has(scope));

/** Whether the item is the caller's own. @param {any} item */
export const isMine = (item) => state.me.names.has(String(item?.user ?? "").toLowerCase());

/** Learn who asks and what they may. False when they may nothing, or when their session has ended. */
export async function learnMe() {
  let told;
  try {
    told = await ask("GET", "auth/scopes", undefined, { isLogin: true });
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return false;
    throw error;
  }
  const isAnonymous = told.roles.length === 0 || told.roles.includes("unauthenticated_public");
  const info = isAnonymous ? null : await ask("GET", "auth/whoami", undefined, { isLogin: true });
  const ids = (info?.identities ?? []).map((/** @type {any} */ one) => one.id);
  const names = [...ids, ...told.roles.filter((/** @type {string} */ role) => role.startsWith("unauthenticated"))];
  state.me = {
    names: new Set(names.map((name) => String(name).toLowerCase())),
    roles: told.roles,
    scopes: new Set(told.scopes),
    label: info ? ids.map(called).join(", ") || info.uuid : T.anonymous,
    isKnown: info !== null,
    info,
  };
  if (state.me.scopes.has("write:queue:edit"))
    for (const covered of ["write:queue:edit:own", "write:proposals", "write:proposals:decide"])
      state.me.scopes.add(covered);
  tell("me");
  return told.scopes.length > 0;
}

// Events

/** @type {EventSource|null} */
let source = null;
let lastId = "";
let lastHeard = 0;
let tries = 0;
/** @type {any} */
let retryTimer = 0;

/** Begin to follow. Again after a login: then everything begins anew. */
export async function follow() {
  clearTimeout(retryTimer);
  source?.close();
  const query = new URLSearchParams();
  if (lastId) query.set("since", lastId);
  try {
    if (secrets.key) query.set("ticket", (await ask("POST", "auth/ticket", {}, {})).ticket);
  } catch {
    return again();
  }
  const mine = new EventSource(`api/events?${query}`);
  source = mine;
  mine.onmessage = (message) => {
    lastHeard = Date.now();
    inbox.push({ from: mine, message });
    if (inbox.length === 1) void readInbox();
  };
  mine.onerror = () => {
    if (source !== mine) return;
    setConnection(state.status ? "lost" : "connecting");
    mine.close();
    again();
  };
}

/** @type {{from: EventSource, message: MessageEvent}[]} */
let inbox = [];

/** Read what has come, one event after another. */
async function readInbox() {
  const pause = pacer();
  for (let at = 0; at < inbox.length; at++) {
    const { from, message } = inbox[at];
    await pause();
    try {
      const event = await parseEvent(message.data);
      if (source !== from) continue; // The connection was lost meanwhile, or somebody else has logged in.
      if (message.lastEventId) lastId = message.lastEventId;
      hear(event);
    } catch (error) {
      reportError(error);
    }
  }
  inbox = [];
}

/** Forget what was seen, for another person. */
export function forget() {
  lastId = "";
  Object.assign(state, {
    queue: [],
    running: null,
    history: [],
    lines: [],
    firstLine: 0,
    runs: [],
    lock: null,
    plans: null,
    devices: null,
    proposals: [],
  });
  tell("queue", "running", "history", "console", "runs", "lock", "plans", "devices", "proposals");
}

function again() {
  clearTimeout(retryTimer);
  retryTimer = setTimeout(
    async () => {
      try {
        if (!(await learnMe())) await ask("GET", "status"); // Asks for a login.
        await follow();
      } catch {
        again();
      }
    },
    Math.min(400 * 2 ** tries++, 5000),
  );
}

setInterval(() => {
  if (source && source.readyState === EventSource.OPEN && Date.now() - lastHeard > SILENCE_MS) {
    setConnection("lost");
    source.close();
    again();
  }
}, 5000);

/** @param {string} to */
function setConnection(to) {
  if (state.connection === to) return;
  state.connection = to;
  tell("connection", "status");
}

/** @param {any} event */
function hear(event) {
  const heard = /** @type {any} */ (topics)[event.topic];
  heard?.(event.type, event.data, event);
}

const topics = {
  /** @param {string} type @param {any} data */
  stream(type, data) {
    if (type === "hello") {
      tries = 0;
      setConnection("live");
      if (!data.continued) {
        if (!state.lines.length) fillConsole();
        void fetchProposals();
      }
    } else if (type === "dropped") {
      // Changes of the queue may be among them: ask again from there. What is not kept any more comes as a gap.
      lastId = data.since || lastId;
      void follow();
    } else if (type === "gap" && data.topics.includes("console") && state.lines.length) fillConsole();
  },
  /** @param {string} type @param {any} data */
  status(type, data) {
    if (type === "changed") state.status = { ...state.status, ...data.changed };
    else if (type === "snapshot" || type === "available") state.status = data;
    state.isAvailable = type !== "unavailable";
    tell("status");
  },
  /** @param {string} type @param {any} data */
  queue(type, data) {
    const queue = state.queue;
    const uid = data.item_uid;
    const at = type === "snapshot" ? -1 : queue.findIndex((item) => item.item_uid === uid);
    const take = () => (at >= 0 ? queue.splice(at, 1)[0] : null);
    const put = (/** @type {any} */ item) => {
      if (!item) return;
      const before = data.after_uid ? queue.findIndex((one) => one.item_uid === data.after_uid) : -1;
      if (data.after_uid && before < 0) queue.push(item);
      else queue.splice(before + 1, 0, item);
    };
    if (type === "snapshot") {
      state.queue = data.items;
      state.queueSeen = true;
      state.running = data.running_item?.item_uid ? data.running_item : null;
    } else if (type === "item_added") {
      take();
      put(data.item);
    } else if (type === "item_moved") put(take());
    else if (type === "item_updated" && at >= 0) queue[at] = data.item;
    else if (type === "item_removed") take();
    else if (type === "item_started") {
      take();
      state.running = data.item;
    } else if (type === "item_finished" && state.running?.item_uid === uid) state.running = null;
    tell("queue", "running");
  },
  /** @param {string} type @param {any} data */
  history(type, data) {
    if (type === "item_added") {
      state.history.push(data.item);
      state.historyTotal += 1;
      tell("history");
    } else if (type === "snapshot") void fetchHistory(data.items_in_history);
    else if (type === "items_removed") void fetchHistory();
  },
  /** @param {string} type @param {any} data */
  console(type, data) {
    if (type === "output") addLines(data.text);
  },
  /** @param {string} type @param {any} data */
  runs(type, data) {
    if (type === "snapshot") state.runs = data.run_list;
    else if (data.run) {
      const others = state.runs.filter((run) => run.uid !== data.run.uid);
      state.runs = [...others, data.run];
    }
    tell("runs");
  },
  /** @param {string} _ @param {any} data */
  lock(_, data) {
    state.lock = data.lock_info;
    tell("lock", "status");
  },
  plans() {
    void fetchPlans();
  },
  devices() {
    void fetchDevices();
  },
  proposals() {
    void fetchProposals();
  },
};

// What events only announce

/** @type {Map<string, ReturnType<typeof setTimeout>>} */
const retries = new Map();

/**
 * Fetch a part of the state. Where that fails for a while, what is there stays, and it is tried again: no event will
 * announce it a second time. @param {string} topic @param {() => Promise<void>} fetchIt @param {() => void} empty
 */
async function refresh(topic, fetchIt, empty) {
  clearTimeout(retries.get(topic));
  retries.delete(topic);
  try {
    await fetchIt();
  } catch (error) {
    const status = error instanceof ApiError ? error.status : 0; // 0: nobody answered.
    const isFinal = status >= 400 && status < 500 && ![408, 429].includes(status);
    if (isFinal) empty();
    else if (!retries.has(topic))
      retries.set(
        topic,
        setTimeout(() => refresh(topic, fetchIt, empty), RETRY_MS),
      );
  }
  tell(topic);
}

/** @param {number} [total] */
async function fetchHistory(total) {
  let count = total;
  const fetchIt = async () => {
    if (count === undefined) count = (await get("history/get?offset=0&limit=0")).total;
    const offset = Math.max(0, (count ?? 0) - HISTORY_PAGE);
    const reply = await get(`history/get?offset=${offset}&limit=${HISTORY_PAGE * 2}`);
    state.history = reply.items ?? [];
    state.historyTotal = reply.total ?? state.history.length;
    state.historySeen = true;
  };
  await refresh("history", fetchIt, () => (state.history = []));
}

/** Fetch the page before what is there. */
export async function fetchOlder() {
  const there = state.historyTotal - state.history.length;
  const offset = Math.max(0, there - HISTORY_PAGE);
  const reply = await get(`history/get?offset=${offset}&limit=${there - offset}`);
  state.history = [...reply.items, ...state.history];
  tell("history");
}

/** The whole history, or what began after a time. @param {number} [since] POSIX @returns {Promise<any[]>} */
export async function fetchWholeHistory(since) {
  const query = since === undefined ? "" : `&since=${since}`;
  /** @type {any[]} */
  let items = [];
  for (;;) {
    const { items: page = [], total = 0 } = await get(`history/get?offset=${items.length}&limit=1000${query}`);
    items = items.concat(page);
    if (!page.length || items.length >= total) return items;
  }
}

async function fetchPlans() {
  const fetchIt = async () => {
    state.plans = (await get("plans/allowed/schema")).plans ?? {};
  };
  await refresh("plans", fetchIt, () => (state.plans = {}));
}

async function fetchDevices() {
  const fetchIt = async () => {
    state.devices = (await get("devices/allowed")).devices_allowed ?? {};
  };
  await refresh("devices", fetchIt, () => (state.devices = {}));
}

export async function fetchProposals() {
  if (!may("write:proposals", "write:proposals:decide", "write:queue:edit")) return;
  const fetchIt = async () => {
    state.proposals = (await get("proposals?limit=200")).proposals ?? [];
    state.proposalsSeen = true;
  };
  await refresh("proposals", fetchIt, () => (state.proposals = []));
}

// The console

let isLineOpen = false;

/** Put text behind what is there. A carriage return begins the line anew. @param {string} text */
function addLines(text) {
  const { lines } = state;
  const parts = text.split("\n");
  parts.forEach((part, at) => {
    const isLast = at === parts.length - 1;
    if (isLast && part === "") {
      if (parts.length > 1) isLineOpen = false;
      return;
    }
    const whole = isLineOpen && at === 0 ? lines.pop() + part : part;
    const pieces = whole.replace(/\r+$/, "").split("\r");
    lines.push(pieces[pieces.length - 1]);
    isLineOpen = isLast;
  });
  trimLines();
  tell("console");
}

function trimLines() {
  const surplus = state.lines.length - LINES_KEPT;
  if (surplus <= 500) return;
  state.lines.splice(0, surplus);
  state.firstLine += surplus;
}

/** Whether the lines stand there, from a place on. @param {string[]} lines @param {string[]} all @param {number} from */
const stand = (lines, all, from) => lines.every((line, at) => line === all[from + at]);

let filled = Promise.resolve();

/** Fill in what is missing of the console, one time after the other. */
function fillConsole() {
  if (may("read:console")) filled = filled.then(fetchLines);
}

/** What was written before the page was there, or while it was away, between what it had and what has come since. */
async function fetchLines() {
  const number = state.firstLine + state.lines.length;
  /** @type {string[]} */
  let old = [];
  try {
    const { text } = await get(`console_output?nlines=${LINES_FETCHED}`);
    old = text ? text.replace(/\n$/, "").split("\n") : [];
  } catch {
    // The events bring what comes.
  }
  const place = Math.max(0, number - state.firstLine);
  const had = state.lines.slice(0, place);
  const since = state.lines.slice(place);
  let common = Math.min(old.length, since.length);
  while (common > 0 && !stand(old.slice(-common), since, 0)) common -= 1;
  if (since.length >= LINES_FETCHED) common = old.length;
  const fetched = old.slice(0, old.length - common);
  const last = had.slice(-20);
  let from = last.length ? fetched.length - last.length : -1;
  while (from >= 0 && !stand(last, fetched, from)) from -= 1;
  const isMissing = had.length > 0 && from < 0;
  const news = fetched.slice(from < 0 ? 0 : from + last.length);
  state.lines = [...had, ...(isMissing ? [T.gap] : []), ...news, ...since];
  trimLines();
  tell("console");
}
