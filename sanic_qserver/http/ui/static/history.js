// The region History: what ran, how it ended, and back into the queue.
import { attempt, reasonedButton } from "./actions.js";
import { post } from "./api.js";
import { notify, show } from "./dialogs.js";
import { Panel, VirtualRows, clock, copyText, download, gridHead, h, moment, searchBox, setText, span } from "./dom.js";
import { describe, owner, plain } from "./items.js";
import { dayPlot } from "./plot.js";
import { pacer } from "./slices.js";
import { fetchOlder, fetchWholeHistory, isMine, may, on, state } from "./store.js";
import { T } from "./texts.js";

const EDITORS = ["write:queue:edit", "write:queue:edit:own"];
const DAY_S = 86_400;
const OUTCOMES = ["completed", "failed", "stopped", "aborted", "halted", "unknown"];

class HistoryPanel extends Panel {
  label = T.history;
  /** @type {any} */ rows;
  /** @type {any[]} */ buttons = [];
  /** @type {any[]} */ items = [];
  /** @type {Set<string>} */ chosen = new Set();
  active = "";
  words = "";
  outcome = "";

  build() {
    this.count = h("span", { class: "count" });
    const words = searchBox(T.filter, T.history, () => this.filter(words.value, outcome.value));
    const outcome = h(
      "select",
      { "aria-label": T.outcome, onchange: () => this.filter(words.value, outcome.value) },
      h("option", { value: "" }, T.anyStatus),
      OUTCOMES.map((name) => h("option", { value: name }, name)),
    );
    this.tools.append(this.count, h("span", { class: "filler" }), words, outcome);
    this.rows = new VirtualRows({
      height: 28,
      role: "rowgroup",
      row: () => this.row(),
      fill: (row, index) => this.fillRow(row, index),
      key: (index) =>
        `${this.uid(index)}|${this.items[index].result?.time_stop ?? index}|${this.chosen.has(this.uid(index))}|${this.uid(index) === this.active}`,
      attributes: {
        class: "grid",
        role: "grid",
        tabindex: "0",
        "aria-label": T.history,
        "aria-multiselectable": "true",
      },
    });
    const grid = this.rows.viewport;
    const heads = [
      [T.outcome, ""],
      [T.plan, ""],
      [T.arguments, "cell-args"],
      [T.user, "cell-user"],
      [T.time, "cell-time"],
      [T.duration, ""],
      [T.runs, "cell-scans"],
    ];
    grid.prepend(gridHead(heads));
    this.empty = h("p", { class: "empty" });
    grid.append(this.empty);
    grid.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.press(event));
    grid.addEventListener("focus", () => {
      if (!this.active && this.items.length) this.select(0, {});
    });
    const some = () => (this.chosen.size ? "" : T.nothingSelected);
    const any = () => (this.items.length ? "" : T.emptyHistory);
    const small = { class: "small" };
    this.buttons = [
      reasonedButton(
        T.copyToQueue,
        () => (may(...EDITORS) ? some() : T.missing(EDITORS)),
        () => void this.toQueue(),
        small,
      ),
      reasonedButton(T.details, some, () => this.details(), small),
      reasonedButton(T.copyJson, some, () => void this.copy(), small),
      reasonedButton(T.day, any, () => void this.plotDay(), small),
      reasonedButton(T.exportJson, any, () => void this.save("json", T.exportJson), small),
      reasonedButton(T.exportCsv, any, () => void this.save("csv", T.exportCsv), small),
    ];
    this.older = h(
      "button",
      {
        type: "button",
        class: "small",
        onclick: () => void attempt(T.older, async () => (await fetchOlder()) ?? {}, { quiet: true }),
      },
      T.older,
    );
    this.append(
      grid,
      h(
        "div",
        { class: "toolbar", role: "toolbar", "aria-label": T.history },
        this.buttons.map((one) => one.holder),
        this.older,
      ),
    );
    on("history me", () => this.update());
  }

  /** @param {number} index */
  uid(index) {
    return this.items[index]?.item_uid ?? "";
  }

  /** @param {string} words @param {string} outcome */
  filter(words, outcome) {
    this.words = words.trim().toLowerCase();
    this.outcome = outcome;
    this.update();
  }

  /** Whether the filter lets an item through. @param {any} item */
  fits(item) {
    return (
      (!this.outcome || item.result?.exit_status === this.outcome) &&
      (!this.words || `${item.name} ${item.user} ${describe(item)}`.toLowerCase().includes(this.words))
    );
  }

  update() {
    this.items = state.history.filter((item) => this.fits(item)).reverse();
    const count = this.words || this.outcome ? this.items.length : state.historyTotal;
    setText(this.count, state.historySeen ? T.items(count) : "");
    this.older.hidden = state.history.length >= state.historyTotal;
    this.empty.hidden = this.items.length > 0 || !state.historySeen;
    setText(this.empty, state.history.length ? T.noMatches : T.emptyHistory);
    this.rows.viewport.setAttribute("aria-rowcount", String(this.items.length + 1));
    this.rows.resize(this.items.length);
    for (const one of this.buttons) one.update();
  }

  row() {
    const classes = ["", "name", "args cell-args", "cell-user", "cell-time", "", "cell-scans"];
    const row = h(
      "div",
      { class: "cells", role: "row" },
      classes.map((name) => h("span", { class: name, role: "gridcell" })),
    );
    row.addEventListener("click", (/** @type {MouseEvent} */ event) => this.select(Number(row.dataset.place), event));
    row.addEventListener("dblclick", () => this.details());
    return row;
  }

  /** @param {any} row @param {number} index */
  fillRow(row, index) {
    const item = this.items[index];
    const result = item.result ?? {};
    row.id = `past-${item.item_uid}`;
    row.setAttribute("aria-rowindex", String(index + 2));
    row.setAttribute("aria-selected", String(this.chosen.has(item.item_uid)));
    row.classList.toggle("active", item.item_uid === this.active);
    const [outcome, name, args, user, time, took, scans] = row.children;
    outcome.className = `outcome ${OUTCOMES.includes(result.exit_status) ? result.exit_status : "unknown"}`;
    setText(outcome, result.exit_status ?? "");
    setText(name, item.name);
    setText(args, describe(item));
    setText(user, owner(item, isMine(item), T.yours));
    setText(
      time,
      Date.now() / 1000 - result.time_start > 64_800 ? moment(result.time_start).slice(0, 8) : clock(result.time_start),
    );
    time.title = moment(result.time_start);
    setText(took, span((result.time_stop ?? 0) - (result.time_start ?? 0)));
    setText(scans, (result.scan_ids ?? []).join(", "));
  }

  /** @param {number} index @param {{shiftKey?: boolean, ctrlKey?: boolean, metaKey?: boolean}} keys */
  select(index, keys) {
    const to = Math.max(0, Math.min(index, this.items.length - 1));
    const uid = this.uid(to);
    if (!uid) return;
    const from = this.items.findIndex((item) => item.item_uid === this.active);
    if (keys.shiftKey && from >= 0)
      for (let at = Math.min(from, to); at <= Math.max(from, to); at++) this.chosen.add(this.uid(at));
    else if (keys.ctrlKey || keys.metaKey) {
      if (!this.chosen.delete(uid)) this.chosen.add(uid);
    } else this.chosen = new Set([uid]);
    this.active = uid;
    this.rows.viewport.setAttribute("aria-activedescendant", `past-${uid}`);
    this.rows.show(to);
    for (const one of this.buttons) one.update();
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const at = this.items.findIndex((item) => item.item_uid === this.active);
    const step = {
      ArrowUp: -1,
      ArrowDown: 1,
      PageUp: -10,
      PageDown: 10,
      Home: -this.items.length,
      End: this.items.length,
    }[event.key];
    if (step !== undefined) this.select(at + step, event);
    else if (event.key === "Enter") this.details();
    else return;
    event.preventDefault();
  }

  chosenItems() {
    return this.items.filter((item) => this.chosen.has(item.item_uid)).reverse();
  }

  async toQueue() {
    const items = this.chosenItems().map(plain);
    const run = () =>
      items.length === 1 ? post("queue/item/add", { item: items[0] }) : post("queue/item/add/batch", { items });
    await attempt(T.copyToQueue, run);
  }

  details() {
    const [item] = this.chosenItems();
    if (!item) return;
    const result = item.result ?? {};
    void show(
      item.name,
      h(
        "div",
        {},
        h(
          "p",
          {},
          `${result.exit_status ?? ""} · ${moment(result.time_start)} · ${span((result.time_stop ?? 0) - (result.time_start ?? 0))}`,
        ),
        result.msg ? h("pre", { tabindex: "0" }, result.msg) : null,
        result.traceback ? h("pre", { tabindex: "0" }, result.traceback) : null,
        result.run_uids?.length ? h("p", { class: "mono" }, result.run_uids.join(" ")) : null,
        h("pre", { tabindex: "0" }, JSON.stringify(plain(item), null, 2)),
      ),
    );
  }

  async plotDay() {
    const items = await attempt(T.day, () => fetchWholeHistory(Date.now() / 1000 - DAY_S), { quiet: true });
    if (items) await show(T.dayPlot, dayPlot(items));
  }

  /** Save all of the history that fits the filter, newest first, not only what is loaded. @param {"json"|"csv"} form @param {string} label */
  async save(form, label) {
    await attempt(label, async () => {
      const pause = pacer();
      const parts = form === "csv" ? [`${line(COLUMNS)}\r\n`] : [];
      for (const item of (await fetchWholeHistory()).reverse()) {
        await pause();
        if (this.fits(item)) parts.push(form === "csv" ? `${line(cells(item))}\r\n` : JSON.stringify(item, null, 2));
      }
      const kind = form === "csv" ? "text/csv" : "application/json";
      download(`history.${form}`, form === "csv" ? parts : [`[${parts.join(",\n")}]\n`], kind);
      return {};
    });
  }

  async copy() {
    await copyText(JSON.stringify(this.chosenItems().map(plain), null, 2));
    notify(T.consoleCopied);
  }
}
customElements.define("qs-history", HistoryPanel);

const COLUMNS = [
  "outcome",
  "plan",
  "arguments",
  "user",
  "start",
  "stop",
  "scan_ids",
  "run_uids",
  "item_uid",
  "message",
];

/** @param {any} item */
const cells = (item) => [
  item.result?.exit_status,
  item.name,
  describe(item),
  item.user,
  moment(item.result?.time_start),
  moment(item.result?.time_stop),
  (item.result?.scan_ids ?? []).join(" "),
  (item.result?.run_uids ?? []).join(" "),
  item.item_uid,
  item.result?.msg,
];

/** A line of CSV. What begins like a formula would be run by spreadsheet programs. @param {any[]} values */
const line = (values) =>
  values
    .map((value) => String(value ?? "").replace(/^[=+\-@\t\r]/, "'$&"))
    .map((text) => `"${text.replaceAll('"', '""')}"`)
    .join(",");
