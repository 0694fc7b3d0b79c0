// The region Queue: the items that wait, thousands of them, and what one does with them.
import { attempt, reasonedButton } from "./actions.js";
import { post, secrets } from "./api.js";
import { editItem } from "./add.js";
import { notify, say, show } from "./dialogs.js";
import { Panel, VirtualRows, copyText, gridHead, h, setText } from "./dom.js";
import { describe, owner, plain } from "./items.js";
import { isMine, may, on, state } from "./store.js";
import { T } from "./texts.js";

const HEIGHT = 28;
/** @type {Set<string>} */
const selection = new Set();
let active = "";
let anchor = "";

/** The uids of the selected items, in their order. */
export const selectedUids = () =>
  state.queue.filter((item) => selection.has(item.item_uid)).map((item) => item.item_uid);

/** @type {WeakMap<any, number>} */
const revisions = new WeakMap();
let revision = 0;
/** @param {any} item */
function revisionOf(item) {
  if (!revisions.has(item)) revisions.set(item, ++revision);
  return revisions.get(item);
}

/** Why the items cannot be changed, or "". @param {any[]} items */
function mayNotEdit(items) {
  if (!may("write:queue:edit", "write:queue:edit:own")) return T.missing(["write:queue:edit"]);
  if (state.status?.lock?.queue && !secrets.lockKey) return T.locked(state.lock?.user ?? "", state.lock?.note ?? "");
  if (!items.length) return T.nothingSelected;
  return may("write:queue:edit") || items.every(isMine) ? "" : T.notYours;
}

class QueuePanel extends Panel {
  label = T.queue;
  /** @type {any[]} */ items = [];
  /** @type {any} */ rows;
  /** @type {any[]} */ buttons = [];
  /** @type {Record<string, any>} */ named = {};
  /** @type {string[]} */ dragged = [];
  /** @type {any[]|null} */ picked = null;

  build() {
    this.count = h("span", { class: "count" });
    this.tools.append(
      this.count,
      h("span", { class: "filler" }),
      (this.chosen = h("span", { class: "soft", role: "status" })),
    );
    this.rows = new VirtualRows({
      height: HEIGHT,
      role: "rowgroup",
      row: () => this.row(),
      fill: (row, index) => this.fillRow(row, index),
      key: (index) => {
        const item = this.items[index];
        return `${revisionOf(item)}|${selection.has(item.item_uid)}|${item.item_uid === active}|${state.me.names.size}`;
      },
      attributes: {
        class: "grid",
        role: "grid",
        tabindex: "0",
        "aria-label": T.queue,
        "aria-multiselectable": "true",
        "aria-description": T.queueHelp,
      },
    });
    const grid = this.rows.viewport;
    const heads = [
      [T.position, "num"],
      [T.plan, ""],
      [T.arguments, ""],
      [T.user, "cell-user"],
    ];
    grid.prepend(gridHead(heads));
    this.empty = h("p", { class: "empty" }, T.emptyQueue);
    grid.append(this.empty);
    this.append(grid, this.toolbar());
    grid.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.press(event));
    grid.addEventListener("focus", () => {
      if (!active && this.items.length) this.activate(0);
    });
    this.listenToDrags(grid);
    on("queue me", () => this.update());
  }

  update() {
    this.items = [...state.queue]; // What is drawn between two updates is what was counted.
    this.picked = null;
    if (selection.size) {
      const there = new Set(this.items.map((item) => item.item_uid));
      for (const uid of selection) if (!there.has(uid)) selection.delete(uid);
    }
    setText(this.count, state.queueSeen ? T.items(this.items.length) : "");
    this.empty.hidden = this.items.length > 0 || !state.queueSeen;
    this.rows.viewport.setAttribute("aria-rowcount", String(this.items.length + 1));
    this.rows.resize(this.items.length);
    this.updateTools();
  }

  updateTools() {
    setText(this.chosen, selection.size ? T.selected(selection.size) : "");
    if (active && this.items.some((item) => item.item_uid === active))
      this.rows.viewport.setAttribute("aria-activedescendant", `item-${active}`);
    else this.rows.viewport.removeAttribute("aria-activedescendant");
    for (const tool of this.buttons) tool.update();
  }

  row() {
    const cells = ["num", "name", "args", "cell-user"].map((name) => h("span", { class: name, role: "gridcell" }));
    const row = h("div", { class: "cells", role: "row", draggable: "true" }, cells);
    row.addEventListener("click", (/** @type {MouseEvent} */ event) => this.choose(Number(row.dataset.place), event));
    row.addEventListener("dblclick", () => this.details());
    return row;
  }

  /** @param {any} row @param {number} index */
  fillRow(row, index) {
    const item = this.items[index];
    const isChosen = selection.has(item.item_uid);
    row.id = `item-${item.item_uid}`;
    row.setAttribute("aria-rowindex", String(index + 2));
    row.setAttribute("aria-selected", String(isChosen));
    row.classList.toggle("active", item.item_uid === active);
    row.classList.toggle("mine", isMine(item));
    const [place, name, args, user] = row.children;
    setText(place, String(index + 1));
    setText(name, item.item_type === "instruction" ? `${item.name} (${T.instruction})` : item.name);
    const text = describe(item);
    setText(args, text);
    args.title = text;
    setText(user, owner(item, isMine(item), T.yours));
  }

  /** The selected items in their order: looked up once for all buttons that ask. */
  chosenItems() {
    this.picked ??= selection.size ? this.items.filter((item) => selection.has(item.item_uid)) : [];
    return this.picked;
  }

  redraw() {
    this.picked = null;
    this.rows.draw();
    this.updateTools();
  }

  /** @param {number} index @param {{shiftKey?: boolean, ctrlKey?: boolean, metaKey?: boolean}} keys */
  choose(index, keys) {
    const item = this.items[index];
    if (!item) return;
    if (keys.shiftKey) this.selectTo(index);
    else if (keys.ctrlKey || keys.metaKey) this.toggle(item.item_uid);
    else {
      selection.clear();
      selection.add(item.item_uid);
      anchor = item.item_uid;
    }
    active = item.item_uid;
    this.redraw();
  }

  /** @param {string} uid */
  toggle(uid) {
    if (!selection.delete(uid)) selection.add(uid);
    anchor = uid;
  }

  /** @param {number} index */
  selectTo(index) {
    const from = Math.max(
      0,
      this.items.findIndex((item) => item.item_uid === anchor),
    );
    selection.clear();
    for (let at = Math.min(from, index); at <= Math.max(from, index); at++) selection.add(this.items[at].item_uid);
  }

  /** @param {number} index @param {{shiftKey?: boolean, ctrlKey?: boolean}} [keys] */
  activate(index, keys = {}) {
    const to = Math.max(0, Math.min(index, this.items.length - 1));
    const item = this.items[to];
    if (!item) return;
    active = item.item_uid;
    if (keys.shiftKey) this.selectTo(to);
    else if (!keys.ctrlKey) {
      selection.clear();
      selection.add(active);
      anchor = active;
    }
    this.rows.show(to);
    this.redraw();
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const at = this.items.findIndex((item) => item.item_uid === active);
    const page = Math.max(1, Math.floor(this.rows.viewport.clientHeight / HEIGHT) - 2);
    const steps = /** @type {Record<string, number>} */ ({
      ArrowUp: -1,
      ArrowDown: 1,
      PageUp: -page,
      PageDown: page,
      Home: -this.items.length,
      End: this.items.length,
    });
    if (event.altKey && event.key in steps) {
      const tool = { ArrowUp: "up", ArrowDown: "down", PageUp: "top", Home: "top", PageDown: "bottom", End: "bottom" }[
        event.key
      ];
      if (tool) this.use(tool);
    } else if (event.key in steps) this.activate(at + steps[event.key], event);
    else if (event.key === " " && active) {
      this.toggle(active);
      this.redraw();
    } else if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
      for (const item of this.items) selection.add(item.item_uid);
      this.redraw();
    } else if (event.key === "Delete") this.use("delete");
    else if (event.key === "Enter") this.details();
    else if (event.key === "Escape") {
      selection.clear();
      this.redraw();
    } else return;
    event.preventDefault();
  }

  /** The same as the button. @param {string} name */
  use(name) {
    this.named[name].button.click();
  }

  toolbar() {
    const items = () => this.chosenItems();
    const edit = () => mayNotEdit(items());
    const one = () => edit() || (items().length === 1 ? "" : T.onlyOne);
    const some = () => (items().length ? "" : T.nothingSelected);
    const small = { class: "small" };
    this.named = {
      top: reasonedButton(T.moveTop, edit, () => this.move({ pos_dest: "front" }), small),
      up: reasonedButton(T.moveUp, edit, () => this.moveBy(-1), small),
      down: reasonedButton(T.moveDown, edit, () => this.moveBy(1), small),
      bottom: reasonedButton(T.moveBottom, edit, () => this.move({ pos_dest: "back" }), small),
      edit: reasonedButton(T.edit, one, () => editItem(items()[0]), small),
      duplicate: reasonedButton(T.duplicate, edit, () => void this.duplicate(), small),
      delete: reasonedButton(T.delete, edit, () => void this.remove(), { class: "small danger" }),
      details: reasonedButton(T.details, some, () => this.details(), small),
      copy: reasonedButton(T.copyJson, some, () => void this.copy(), small),
    };
    this.buttons = Object.values(this.named);
    on("me status lock", () => this.updateTools());
    return h(
      "div",
      { class: "toolbar", role: "toolbar", "aria-label": T.queue },
      this.buttons.map((tool) => tool.holder),
    );
  }

  /** @param {number} step */
  moveBy(step) {
    const places = this.items.flatMap((item, at) => (selection.has(item.item_uid) ? [at] : []));
    const neighbour = this.items[step < 0 ? places[0] - 1 : places[places.length - 1] + 1];
    if (!neighbour) return say(step < 0 ? T.moveTop : T.moveBottom);
    return this.move(step < 0 ? { before_uid: neighbour.item_uid } : { after_uid: neighbour.item_uid });
  }

  /** Move what is selected next to an item that is named, so that a change meanwhile cannot misplace it. @param {any} where @param {string[]} [uids] */
  async move(where, uids = selectedUids()) {
    if (!uids.length) return;
    const run = () =>
      uids.length === 1
        ? post("queue/item/move", { uid: uids[0], ...where })
        : post("queue/item/move/batch", { uids, ...where });
    const reply = await attempt(T.moveFailed, run, { quiet: true });
    if (!reply) return;
    const item = this.items.find((one) => one.item_uid === uids[0]);
    say(T.moved(item?.name ?? "", state.queue.indexOf(item) + 1));
  }

  async duplicate() {
    const items = this.chosenItems();
    const after = items[items.length - 1].item_uid;
    if (items.length === 1)
      await attempt(T.duplicate, () => post("queue/item/add", { item: plain(items[0]), after_uid: after }), {
        quiet: true,
      });
    else
      await attempt(T.duplicate, () => post("queue/item/add/batch", { items: items.map(plain), after_uid: after }), {
        quiet: true,
      });
  }

  async remove() {
    const uids = selectedUids();
    const last = this.items.findIndex((item) => item.item_uid === uids[uids.length - 1]);
    const next = this.items[last + 1] ?? this.items[this.items.findIndex((item) => item.item_uid === uids[0]) - 1];
    const run = () =>
      uids.length === 1
        ? post("queue/item/remove", { uid: uids[0] })
        : post("queue/item/remove/batch", { uids, ignore_missing: true });
    if (!(await attempt(T.delete, run, { quiet: true }))) return;
    active = next?.item_uid ?? "";
    this.redraw();
  }

  details() {
    const items = this.chosenItems();
    if (!items.length) return;
    void show(
      items.length === 1 ? items[0].name : T.items(items.length),
      h("pre", { tabindex: "0" }, JSON.stringify(items.length === 1 ? items[0] : items, null, 2)),
    );
  }

  async copy() {
    const items = this.chosenItems().map(plain);
    await copyText(JSON.stringify(items.length === 1 ? items[0] : items, null, 2));
    notify(T.consoleCopied);
  }

  /** @param {HTMLElement} grid */
  listenToDrags(grid) {
    const target = (/** @type {DragEvent} */ event) => {
      const row = /** @type {HTMLElement} */ (event.target).closest?.(".vrow");
      if (!(row instanceof HTMLElement)) return null;
      const box = row.getBoundingClientRect();
      return { row, item: this.items[Number(row.dataset.place)], isAfter: event.clientY > box.top + box.height / 2 };
    };
    const clear = () =>
      grid
        .querySelectorAll(".drop-before, .drop-after")
        .forEach((row) => row.classList.remove("drop-before", "drop-after"));
    grid.addEventListener("dragstart", (event) => {
      const row = /** @type {HTMLElement} */ (event.target).closest(".vrow");
      const item = row instanceof HTMLElement ? this.items[Number(row.dataset.place)] : null;
      if (!item) return;
      if (!selection.has(item.item_uid)) this.choose(this.items.indexOf(item), {});
      const why = mayNotEdit(this.chosenItems());
      if (why) {
        event.preventDefault();
        return notify(why, "bad");
      }
      this.dragged = selectedUids();
      event.dataTransfer?.setData("text/plain", JSON.stringify(this.chosenItems().map(plain)));
      if (event.dataTransfer) event.dataTransfer.effectAllowed = "move";
    });
    grid.addEventListener("dragover", (event) => {
      if (!this.dragged.length) return;
      event.preventDefault();
      clear();
      const to = target(event);
      to?.row.classList.add(to.isAfter ? "drop-after" : "drop-before");
    });
    grid.addEventListener("dragleave", clear);
    grid.addEventListener("dragend", () => {
      clear();
      this.dragged = [];
    });
    grid.addEventListener("drop", (event) => {
      event.preventDefault();
      clear();
      const to = target(event);
      const uids = this.dragged;
      this.dragged = [];
      if (!uids.length || !to?.item || uids.includes(to.item.item_uid)) return;
      void this.move(to.isAfter ? { after_uid: to.item.item_uid } : { before_uid: to.item.item_uid }, uids);
    });
  }
}
customElements.define("qs-queue", QueuePanel);
