// The region Status: what RE Manager does, and the controls.
import { actionButton, attempt, whyNot } from "./actions.js";
import { post } from "./api.js";
import { Panel, h, newId, setText } from "./dom.js";
import { notify } from "./dialogs.js";
import { on, state } from "./store.js";
import { T } from "./texts.js";

const GOOD = new Set(["idle", "open", "running", "executing queue"]);
const BUSY = /executing|starting|creating|closing|destroying|initializing|running/;

/** @param {string} value */
export function toneOf(value) {
  if (/paused|pending|[Ll]ocked by|failed|panicked/.test(value)) return "warn";
  if (BUSY.test(value)) return "busy";
  return GOOD.has(value) ? "good" : "";
}

/** What is shown of a status: name, value. @returns {[string, string][]} */
export function facts() {
  const s = state.status;
  if (!s) return [[T.manager, state.isAvailable ? "…" : T.noManager]];
  const isRunning = s.manager_state === "executing_queue" || s.manager_state === "starting_queue";
  const locks = [s.lock?.environment ? "environment" : "", s.lock?.queue ? "queue" : ""].filter(Boolean).join(" and ");
  const env = s.worker_environment_state ?? (s.worker_environment_exists ? T.open : T.closed);
  return [
    [T.manager, state.isAvailable ? s.manager_state.replaceAll("_", " ") : T.noManager],
    [
      T.environment,
      s.worker_environment_exists ? `${T.open}${env === "idle" ? "" : `, ${env.replaceAll("_", " ")}`}` : env,
    ],
    [T.engine, (s.re_state ?? "—") + (s.pause_pending ? ", pause pending" : "")],
    [T.queue, s.queue_stop_pending ? `${T.runningState}, ${T.stopPending}` : isRunning ? T.runningState : T.stopped],
    [T.lock, locks ? `${locks}: ${T.locked(state.lock?.user ?? "", state.lock?.note ?? "")}` : T.unlocked],
  ];
}

/** A switch for a setting of the queue. @param {string} label @param {() => boolean} read @param {(on: boolean) => Promise<any>} write @param {"environment"|"queue"} lock */
function toggle(label, read, write, lock) {
  const why = () => whyNot({ label, scopes: ["write:queue:control"], run: async () => null, lock });
  const reason = h("span", { id: newId("why"), class: "away" });
  const button = h(
    "button",
    { type: "button", role: "switch", class: "switch", "aria-checked": "false", "aria-describedby": reason.id },
    h("span", { class: "knob", "aria-hidden": "true" }),
    label,
  );
  button.addEventListener("click", () => {
    const text = why();
    if (text) notify(`${label}: ${text}`, "bad");
    else void attempt(label, () => write(!read()));
  });
  on("status me connection lock", () => {
    const text = why();
    button.setAttribute("aria-checked", String(Boolean(state.status && read())));
    button.toggleAttribute("aria-disabled", false);
    if (text) button.setAttribute("aria-disabled", "true");
    button.title = text;
    setText(reason, text);
  });
  return h("span", { class: "reasoned" }, button, reason);
}

class StatusPanel extends Panel {
  label = T.status;
  build() {
    const list = h("dl", { class: "facts", "aria-live": "polite" });
    /** @type {Map<string, any>} */
    const cells = new Map();
    on("status lock", () => {
      for (const [name, value] of facts()) {
        let cell = cells.get(name);
        if (!cell) {
          cell = h("dd");
          cells.set(name, cell);
          list.append(h("div", { class: "fact" }, h("dt", {}, name), cell));
        }
        setText(cell, value);
        cell.title = value;
        cell.className = toneOf(value);
      }
    });
    const group = (/** @type {string} */ name, /** @type {any[]} */ ...buttons) =>
      h(
        "div",
        { class: "group", role: "group", "aria-label": name },
        h("span", { class: "group-name", "aria-hidden": "true" }, name),
        ...buttons,
      );
    this.append(
      list,
      h(
        "div",
        { class: "controls" },
        group(T.environment, ...["open", "close", "update", "destroy"].map(actionButton)),
        group(
          T.queue,
          ...["start", "stop", "cancelStop", "clear"].map(actionButton),
          toggle(
            T.autostart,
            () => state.status.queue_autostart_enabled,
            (enable) => post("queue/autostart", { enable }),
            "environment",
          ),
          toggle(
            T.loop,
            () => state.status.plan_queue_mode?.loop,
            (loop) => post("queue/mode/set", { mode: { loop } }),
            "queue",
          ),
        ),
        group(T.plan, ...["pause", "pauseNow", "resume", "stopPlan", "abort", "halt", "interrupt"].map(actionButton)),
        group(T.lock, ...["lock", "unlock"].map(actionButton)),
      ),
    );
  }
}
customElements.define("qs-status", StatusPanel);
