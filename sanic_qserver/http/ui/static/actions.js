// What can be done to RE Manager: who may, when, what is lost. Buttons are drawn from this table.
import { ApiError, post, secrets } from "./api.js";
import { notify, question } from "./dialogs.js";
import { h, newId, setText } from "./dom.js";
import { may, on, state, tell } from "./store.js";
import { T } from "./texts.js";

/** @typedef {{label: string, scopes: string[], why?: (status: any) => string, run: () => Promise<any>, ask?: () => string, isDangerous?: boolean, kind?: string, lock?: "environment"|"queue"|"", quiet?: boolean}} Action */

const idle = (/** @type {any} */ s) => (s.manager_state === "idle" ? "" : T.busy(s.manager_state));
const opened = (/** @type {any} */ s) => (s.worker_environment_exists ? "" : T.envIsClosed);
const paused = (/** @type {any} */ s) => (s.manager_state === "paused" ? "" : T.notPaused);
const runs = (/** @type {any} */ s) => (s.manager_state === "executing_queue" ? "" : T.noPlanRuns);
const planName = () => state.running?.name ?? "";
const isTaskRunning = () => state.status?.manager_state === "executing_task";

/** @param {string} label @param {string[]} scopes @param {string} path @param {any} body @param {Partial<Action>} [more] @returns {Action} */
const simple = (label, scopes, path, body, more = {}) => ({
  label,
  scopes,
  run: () => post(path, body),
  lock: "environment",
  ...more,
});

const MANAGER = ["write:manager:control"];
const QUEUE = ["write:queue:control"];
const PLAN = ["write:plan:control"];

/** @type {Record<string, Action>} */
export const ACTIONS = {
  open: simple(
    T.openEnvironment,
    MANAGER,
    "environment/open",
    {},
    { why: (s) => (s.worker_environment_exists ? T.envIsOpen : idle(s)), kind: "primary" },
  ),
  close: simple(T.closeEnvironment, MANAGER, "environment/close", {}, { why: (s) => opened(s) || idle(s) }),
  update: simple(T.updateEnvironment, QUEUE, "environment/update", {}, { why: (s) => opened(s) || idle(s) }),
  destroy: simple(
    T.destroyEnvironment,
    MANAGER,
    "environment/destroy",
    {},
    {
      why: (s) => (s.worker_environment_state !== "closed" ? "" : T.envIsClosed),
      ask: () => T.askDestroy(planName()),
      isDangerous: true,
    },
  ),
  start: simple(
    T.startQueue,
    QUEUE,
    "queue/start",
    {},
    { why: (s) => opened(s) || idle(s) || (s.items_in_queue ? "" : T.queueEmpty), kind: "primary" },
  ),
  stop: simple(
    T.stopQueue,
    QUEUE,
    "queue/stop",
    {},
    {
      why: (s) =>
        s.running_item_uid || s.manager_state.endsWith("_queue")
          ? s.queue_stop_pending
            ? T.stopIsPending
            : ""
          : T.queueIdle,
    },
  ),
  cancelStop: simple(
    T.cancelStop,
    QUEUE,
    "queue/stop/cancel",
    {},
    { why: (s) => (s.queue_stop_pending ? "" : T.noStopPending) },
  ),
  clear: simple(
    T.clearQueue,
    ["write:queue:edit"],
    "queue/clear",
    {},
    {
      why: (s) => (s.items_in_queue ? "" : T.queueEmpty),
      ask: () => T.askClear(state.status?.items_in_queue ?? 0),
      isDangerous: true,
      lock: "queue",
    },
  ),
  pause: simple(
    T.pause,
    PLAN,
    "re/pause",
    { option: "deferred" },
    { why: (s) => runs(s) || (s.pause_pending ? T.pausePending : "") },
  ),
  pauseNow: simple(T.pauseNow, PLAN, "re/pause", { option: "immediate" }, { why: runs }),
  resume: simple(T.resume, PLAN, "re/resume", {}, { why: paused, kind: "primary" }),
  stopPlan: simple(T.stopPlan, PLAN, "re/stop", {}, { why: paused }),
  abort: simple(T.abort, PLAN, "re/abort", {}, { why: paused, ask: () => T.askAbort(planName()), isDangerous: true }),
  halt: simple(T.halt, PLAN, "re/halt", {}, { why: paused, ask: () => T.askHalt(planName()), isDangerous: true }),
  interrupt: simple(
    T.interrupt,
    QUEUE,
    "kernel/interrupt",
    {},
    {
      why: (s) => (s.ip_kernel_state && s.ip_kernel_state !== "disabled" ? "" : T.noKernel),
      ask: () => (isTaskRunning() ? T.askInterrupt : ""),
      isDangerous: true,
      run: () => post("kernel/interrupt", isTaskRunning() ? { interrupt_task: true } : {}),
    },
  ),
  lock: {
    label: T.lock,
    scopes: ["write:lock"],
    lock: "",
    quiet: true,
    why: (s) => (s.lock?.environment && s.lock?.queue ? T.isLocked : ""),
    run: lock,
  },
  unlock: {
    label: T.unlock,
    scopes: ["write:lock"],
    lock: "",
    quiet: true,
    why: (s) => (s.lock?.environment || s.lock?.queue ? "" : T.notLocked),
    run: unlock,
  },
};

async function lock() {
  const told = await question({
    title: T.lockTitle,
    verb: T.lock,
    fields: [
      { name: "key", label: T.lockKey, type: "password", required: true },
      { name: "note", label: T.lockNote },
      { name: "environment", label: T.lockEnvironment, type: "checkbox", checked: true },
      { name: "queue", label: T.lockQueue, type: "checkbox", checked: true },
    ],
  });
  if (!told) return null;
  const reply = await post("lock", {
    lock_key: told.key,
    note: told.note || null,
    environment: told.environment,
    queue: told.queue,
  });
  if (reply.success) secrets.lockKey = told.key;
  tell("lock"); // The event of the lock may have come before the reply.
  return reply;
}

async function unlock() {
  let key = secrets.lockKey;
  if (!key)
    key =
      (
        await question({
          title: T.unlockTitle,
          verb: T.unlock,
          fields: [{ name: "key", label: T.lockKey, type: "password", required: true }],
        })
      )?.key ?? "";
  if (!key) return null;
  secrets.lockKey = "";
  return post("unlock", { lock_key: key });
}

/** Why something is not possible now, or "". @param {Action} action */
export function whyNot(action) {
  if (!may(...action.scopes)) return T.missing(action.scopes);
  const status = state.status;
  if (!status || state.connection !== "live") return state.connection === "live" ? T.noManager : T.lost;
  if (!state.isAvailable) return T.noManager;
  const area = action.lock ?? "";
  if (area && status.lock?.[area] && !secrets.lockKey) return T.locked(state.lock?.user ?? "", state.lock?.note ?? "");
  return action.why?.(status) ?? "";
}

/**
 * Do it, and tell what came of it. Gives RE Manager's reply, or null when it was refused or cancelled.
 * @param {string} what @param {() => Promise<any>} run @param {{quiet?: boolean}} [how]
 */
export async function attempt(what, run, how = {}) {
  try {
    const reply = await run();
    if (reply === null) return null;
    if (reply?.success === false) {
      notify(`${T.failed(what)}: ${reply.msg}`, "bad");
      return null;
    }
    if (!how.quiet) notify(T.done(what));
    return reply;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const unknown = error.status === 0 || error.status === 408 || error.status === 502 ? ` ${T.unknownOutcome}` : "";
    notify(`${T.failed(what)}: ${error.message || T.offline}.${unknown}`, "bad");
    return null;
  }
}

/** @param {Action} action */
async function perform(action) {
  const text = action.ask?.();
  if (text) {
    const answer = await question({
      title: `${action.label}?`,
      text,
      verb: action.label,
      isDangerous: true,
    });
    if (!answer) return;
  }
  await attempt(action.label, action.run, { quiet: action.quiet });
}

/**
 * A button that says why it cannot be pressed, and stays in reach of the keyboard to say so.
 * @param {string} label @param {() => string} why @param {() => any} press @param {Record<string, any>} [attributes]
 */
export function reasonedButton(label, why, press, attributes = {}) {
  const reason = h("span", { id: newId("why"), class: "away" });
  const button = h("button", { type: "button", "aria-describedby": reason.id, ...attributes }, label);
  button.addEventListener("click", () => {
    const text = why();
    if (text) notify(`${label}: ${text}`, "bad");
    else press();
  });
  const update = () => {
    const text = why();
    setText(reason, text);
    if (text) {
      button.setAttribute("aria-disabled", "true");
      button.title = text;
    } else {
      button.removeAttribute("aria-disabled");
      button.removeAttribute("title");
    }
  };
  const holder = h("span", { class: "reasoned" }, button, reason);
  return { holder, button, update };
}

/** The button of an action. @param {string} name */
export function actionButton(name) {
  const action = ACTIONS[name];
  const kind = action.isDangerous ? "danger" : action.kind === "primary" ? "primary" : "";
  const { holder, update } = reasonedButton(
    action.label,
    () => whyNot(action),
    () => perform(action),
    { class: kind },
  );
  on("status me connection lock queue", update);
  return holder;
}
