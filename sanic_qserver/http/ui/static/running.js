// The region Running: the plan at work, since when, and its runs.
import { Panel, fill, h, moment, setText, span } from "./dom.js";
import { describe, owner } from "./items.js";
import { isMine, on, state } from "./store.js";
import { T } from "./texts.js";

/** When the running item began, as RE Manager tells it, or as it was first seen here. */
export function startedAt() {
  const item = state.running;
  if (!item) return 0;
  return item.properties?.time_start ?? (item.seen_at ??= Date.now() / 1000);
}

class RunningPanel extends Panel {
  label = T.running;
  build() {
    const name = h("span", { class: "name" });
    const args = h("span", { class: "args" });
    const user = h("span", { class: "soft" });
    const elapsed = h("span", { class: "nowrap", role: "timer", "aria-label": T.elapsed });
    const runs = h("div", { class: "chips", "aria-label": T.openRuns, role: "list" });
    const line = h("div", { class: "run-line" }, name, elapsed, user, args);
    const nothing = h("p", { class: "soft" }, T.nothingRuns);
    this.append(h("div", { class: "body" }, line, runs, nothing));
    const tick = () => setText(elapsed, state.running ? span(Date.now() / 1000 - startedAt()) : "");
    on("running status runs me", () => {
      const item = state.running;
      line.hidden = runs.hidden = !item;
      nothing.hidden = Boolean(item);
      if (!item) return;
      const isHeld = state.status?.manager_state === "paused";
      name.className = `name ${isHeld ? "held" : "pulse"}`;
      setText(name, item.name + (isHeld ? ` (${T.paused})` : ""));
      setText(args, describe(item));
      setText(user, owner(item, isMine(item), T.yours));
      elapsed.title = moment(startedAt());
      fill(
        runs,
        state.runs.map((run) =>
          h(
            "span",
            { class: `chip mono ${run.is_open ? "good" : ""}`, role: "listitem", title: run.uid },
            `${run.scan_id ?? ""} ${String(run.uid).slice(0, 8)} ${run.is_open ? T.runOpen : `${T.runDone}${run.exit_status ? `: ${run.exit_status}` : ""}`}`,
          ),
        ),
      );
      runs.hidden = !state.runs.length;
      tick();
    });
    setInterval(tick, 1000);
  }
}
customElements.define("qs-running", RunningPanel);
