// Builds elements and draws long lists. User text enters the page here only, and only as text nodes.

/** @typedef {any} Child a node, a text, a list of them, or nothing */

/**
 * An element. Attributes that begin with "on" are listeners; true and false set and leave out an attribute.
 * @param {string} tag @param {Record<string, any>} [attributes] @param {...(Child|Child[])} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "htmlFor") /** @type {any} */ (element)[name] = value;
    else if (value !== false && value !== null && value !== undefined)
      element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

/** @param {any[]} children @returns {(Node|string)[]} */
function nodes(children) {
  return children
    .flat(3)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/** Replace what is inside. @param {Element} element @param {...(Child|Child[])} children */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
}

/** Set a text only when it differs: what did not change is not touched. @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let numbers = 0;
/** An id that nothing else has. @param {string} stem */
export const newId = (stem) => `${stem}-${++numbers}`;

/** A part of the page with a name of its own. */
export class Panel extends HTMLElement {
  label = "";
  connectedCallback() {
    if (this.childElementCount) return;
    this.setAttribute("role", "region");
    this.setAttribute("aria-label", this.label);
    this.classList.add("panel");
    this.tools = h("div", { class: "tools" });
    this.heading = h("h2", {}, this.label);
    this.append(h("div", { class: "panel-head" }, this.heading, this.tools));
    this.build();
  }
  build() {}
}

/** A field to look for something in a part of the page. @param {string} word @param {string} where @param {() => void} oninput */
export function searchBox(word, where, oninput) {
  const label = `${word} ${where.toLowerCase()}`;
  return h("input", { type: "search", class: "search", placeholder: word, "aria-label": label, oninput });
}

/** The heads above the rows of a grid. @param {string[][]} columns the text and the class of each */
export function gridHead(columns) {
  const heads = columns.map(([text, name]) => h("span", { role: "columnheader", class: name }, text));
  return h("div", { role: "rowgroup", class: "head-group" }, h("div", { class: "cells head", role: "row" }, heads));
}

/**
 * Draws only the rows that can be seen. `fill(row, index)` writes one; `key(index)` tells whether it must.
 * `attributes` are those of the viewport.
 */
export class VirtualRows {
  /** @param {{height: number, row: () => HTMLElement, fill: (row: any, index: number) => void, key: (index: number) => string, attributes: Record<string, any>, role?: string}} how */
  constructor(how) {
    this.how = how;
    this.count = 0;
    /** @type {HTMLElement[]} */
    this.pool = [];
    /** @type {string[]} */
    this.keys = [];
    this.canvas = h("div", { class: "canvas", role: how.role ?? "presentation" });
    this.viewport = h("div", how.attributes, this.canvas);
    this.viewport.classList.add("viewport");
    // Asking the viewport for these while rows are written would lay out the page again and again.
    this.top = 0;
    this.room = 300;
    this.viewport.addEventListener(
      "scroll",
      () => {
        this.top = this.viewport.scrollTop;
        this.later();
      },
      { passive: true },
    );
    new ResizeObserver(() => {
      this.room = this.viewport.clientHeight;
      this.later();
    }).observe(this.viewport);
    this.isWaiting = false;
  }
  later() {
    if (this.isWaiting) return;
    this.isWaiting = true;
    requestAnimationFrame(() => {
      this.isWaiting = false;
      this.draw();
    });
  }
  /** @param {number} count */
  resize(count) {
    if (count !== this.count) {
      this.count = count;
      this.canvas.style.height = `${count * this.how.height}px`;
    }
    this.draw();
  }
  draw() {
    const { height } = this.how;
    const seen = Math.ceil((this.room || 300) / height) + 8;
    const first = Math.max(0, Math.min(Math.floor(this.top / height) - 4, this.count - seen));
    const shown = Math.min(seen, this.count - first);
    while (this.pool.length < shown) {
      const row = this.how.row();
      row.classList.add("vrow");
      this.pool.push(row);
      this.canvas.append(row);
    }
    while (this.pool.length > shown) this.pool.pop()?.remove();
    this.keys.length = shown;
    for (let at = 0; at < shown; at++) {
      const row = this.pool[at];
      const place = `${first + at}`;
      const key = `${place}|${this.how.key(first + at)}`;
      if (row.dataset.place !== place) {
        row.dataset.place = place;
        row.style.transform = `translateY(${(first + at) * height}px)`;
      }
      if (this.keys[at] !== key) {
        this.keys[at] = key;
        this.how.fill(row, first + at);
      }
    }
  }
  /** Bring a row into view. @param {number} index */
  show(index) {
    const { height } = this.how;
    const top = index * height;
    const view = this.viewport;
    const room = view.clientHeight - this.canvas.offsetTop; // What stands above the rows stays in sight.
    if (top < view.scrollTop) this.scrollTo(top);
    else if (top + height > view.scrollTop + room) this.scrollTo(top + height - room);
    else this.draw();
  }
  /** @param {number} top */
  scrollTo(top) {
    this.viewport.scrollTop = top;
    this.top = this.viewport.scrollTop;
    this.draw();
  }
}

/** Save text as a file. @param {string} name @param {string[]} parts @param {string} kind */
export function download(name, parts, kind) {
  const url = URL.createObjectURL(new Blob(parts, { type: kind }));
  const link = h("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** Put text on the clipboard, also where the page has no TLS. @param {string} text */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { "aria-hidden": "true", class: "away", value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

/** A time of day. @param {number|null|undefined} posix */
export function clock(posix) {
  if (!posix) return "";
  const time = new Date(posix * 1000);
  return [time.getHours(), time.getMinutes(), time.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}

/** @type {Intl.DateTimeFormat|undefined} */
let moments; // Made when it is needed: that takes a while.

/** Day and time. @param {number|null|undefined} posix */
export function moment(posix) {
  moments ??= new Intl.DateTimeFormat([], { hour12: false, dateStyle: "short", timeStyle: "medium" });
  return posix ? moments.format(posix * 1000) : "";
}

/** A duration in words. @param {number} seconds */
export function span(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}
