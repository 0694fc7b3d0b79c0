// The region Console: what RE Manager and the plans print.
import { bare, coloured } from "./ansi.js";
import { notify } from "./dialogs.js";
import { Panel, VirtualRows, copyText, download, fill, h, setText } from "./dom.js";
import { on, state } from "./store.js";
import { T } from "./texts.js";

const HEIGHT = 18;

class ConsolePanel extends Panel {
  label = T.console;
  /** @type {any} */ rows;
  isFollowing = true;
  query = "";
  /** @type {number[]|null} */ found = null;
  /** @type {string[]} */ lines = [];
  seen = 0;

  build() {
    this.rows = new VirtualRows({
      height: HEIGHT,
      row: () => h("div", { class: "line-row" }),
      fill: (row, index) => {
        const line = this.lineAt(index);
        fill(row, coloured(line));
        row.classList.toggle("hit", Boolean(this.query) && bare(line).toLowerCase().includes(this.query));
      },
      key: (index) => `${state.firstLine + this.numberAt(index)}|${this.lineAt(index).length}|${this.query}`,
    });
    const view = this.rows.viewport;
    for (const [name, value] of Object.entries({
      role: "log",
      tabindex: "0",
      "aria-label": T.console,
      "aria-live": "off",
    }))
      view.setAttribute(name, value);
    const follow = h("input", { type: "checkbox", checked: true, onchange: () => this.setFollowing(follow.checked) });
    this.followBox = follow;
    const search = h("input", {
      type: "search",
      class: "search",
      placeholder: T.search,
      "aria-label": `${T.search} ${T.console.toLowerCase()}`,
      oninput: () => this.search(search.value),
    });
    this.count = h("span", { class: "soft nowrap", role: "status" });
    this.tools.append(
      h("label", { class: "check nowrap inline" }, follow, T.follow),
      h("span", { class: "filler" }),
      this.count,
      search,
      h("button", { type: "button", class: "small", onclick: () => void this.copy() }, T.copy),
      h(
        "button",
        { type: "button", class: "small", onclick: () => download("console.txt", `${this.text()}\n`, "text/plain") },
        T.downloadText,
      ),
    );
    this.empty = h("p", { class: "empty" }, T.emptyConsole);
    this.append(this.empty, view);
    view.addEventListener("scroll", () => {
      const isAtEnd = view.scrollTop + view.clientHeight >= view.scrollHeight - HEIGHT * 1.5;
      if (this.isFollowing && !isAtEnd && view.scrollTop < this.seen - 4) this.setFollowing(false);
      else if (!this.isFollowing && isAtEnd && view.scrollTop > this.seen) this.setFollowing(true);
      this.seen = view.scrollTop;
    });
    on("console", () => this.update());
  }

  /** @param {number} index */
  numberAt(index) {
    return this.found ? this.found[index] : index;
  }
  /** @param {number} index */
  lineAt(index) {
    return state.lines[this.numberAt(index)] ?? "";
  }

  /** @param {boolean} isOn */
  setFollowing(isOn) {
    this.isFollowing = isOn;
    this.followBox.checked = isOn;
    if (isOn) this.update();
  }

  /** @param {string} text */
  search(text) {
    this.query = text.trim().toLowerCase();
    this.update();
  }

  update() {
    const view = this.rows.viewport;
    this.empty.hidden = state.lines.length > 0;
    this.found = null;
    if (this.query) {
      this.found = [];
      for (let at = 0; at < state.lines.length; at++)
        if (bare(state.lines[at]).toLowerCase().includes(this.query)) this.found.push(at);
      setText(this.count, `${this.found.length} / ${state.lines.length}`);
    } else setText(this.count, "");
    const shift = state.firstLine - (this.first ?? state.firstLine);
    this.first = state.firstLine;
    if (shift && !this.isFollowing) view.scrollTop -= shift * HEIGHT; // What one reads stays where it is.
    this.rows.resize(this.found ? this.found.length : state.lines.length);
    if (this.isFollowing) {
      view.scrollTop = view.scrollHeight;
      this.seen = view.scrollTop;
      this.rows.draw();
    }
  }

  text() {
    return (this.found ? this.found.map((at) => state.lines[at]) : state.lines).map(bare).join("\n");
  }

  async copy() {
    await copyText(this.text());
    notify(T.consoleCopied);
  }
}
customElements.define("qs-console", ConsolePanel);
