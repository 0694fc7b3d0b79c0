// The display on the wall: large, read from afar, no controls.
import { clock, fill, h, setText, span } from "./dom.js";
import { describe, owner } from "./items.js";
import { startedAt } from "./running.js";
import { facts, toneOf } from "./status.js";
import { on, state } from "./store.js";
import { T } from "./texts.js";

class Wall extends HTMLElement {
  connectedCallback() {
    this.setAttribute("role", "main");
    const title = document.querySelector("meta[name=application-name]")?.getAttribute("content") ?? "";
    const time = h("span", { class: "soft" });
    const list = h("dl", { class: "facts" });
    const plan = h("p", { class: "big" });
    const args = h("p", { class: "args" });
    const elapsed = h("p", {});
    const next = h("ol", {});
    const past = h("ol", {});
    const nextHead = h("h2", {});
    const box = (/** @type {string} */ label, /** @type {any[]} */ ...inside) =>
      h("section", { class: "wall-panel", "aria-label": label }, inside);
    this.append(
      h("div", { class: "wall-head" }, h("h1", {}, title, " ", time)),
      list,
      box(T.running, h("h2", {}, T.running), plan, elapsed, args),
      box(T.queue, nextHead, next),
      box(T.history, h("h2", {}, T.history), past),
    );
    on("status lock connection", () => {
      fill(
        list,
        facts().map(([name, value]) =>
          h("div", { class: "fact" }, h("dt", {}, name), h("dd", { class: toneOf(value) }, value)),
        ),
      );
    });
    on("running status", () => {
      const isHeld = state.status?.manager_state === "paused";
      setText(plan, state.running ? `${state.running.name}${isHeld ? ` (${T.paused})` : ""}` : T.nothingRuns);
      setText(args, state.running ? `${owner(state.running, false, "")} · ${describe(state.running)}` : "");
    });
    on("queue", () => {
      setText(nextHead, `${T.queue}: ${T.items(state.queue.length)}`);
      fill(
        next,
        state.queue
          .slice(0, 8)
          .map((item) =>
            h("li", {}, h("strong", {}, item.name), h("span", { class: "soft" }, ` ${owner(item, false, "")}`)),
          ),
      );
    });
    on("history", () => {
      fill(
        past,
        state.history
          .slice(-6)
          .reverse()
          .map((item) =>
            h(
              "li",
              {},
              h("strong", {}, item.name),
              " ",
              h("span", { class: `outcome ${item.result?.exit_status ?? "unknown"}` }, item.result?.exit_status ?? ""),
              h("span", { class: "soft" }, ` ${clock(item.result?.time_stop)}`),
            ),
          ),
      );
    });
    const tick = () => {
      setText(time, clock(Date.now() / 1000));
      setText(elapsed, state.running ? span(Date.now() / 1000 - startedAt()) : "");
    };
    tick();
    setInterval(tick, 1000);
  }
}
customElements.define("qs-wall", Wall);
