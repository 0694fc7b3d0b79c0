// The region Console: what RE Manager and the plans print.
import { bare, coloured } from "./ansi.js";
import { notify } from "./dialogs.js";
import { Panel, VirtualRows, copyText, download, fill, h, searchBox, setText } from "./dom.js";
import { on, state } from "./store.js";
import { T } from "./texts.js";

const HEIGHT = 18;

class ConsolePanel extends Panel {
  label = T.console;
  /** @type {any} */ rows;
  isFollowing = true;
  query = "";
  /** @type {number[]|null} */ found = null;
  looked = 0;
  /** @type {string[]|null} */ lookedIn = null;
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
      key: (index) => `${this.query}|${this.lineAt(index)}`,
      attributes: { role: "log", tabindex: "0", "aria-label": T.console, "aria-live": "off" },
    });
    const view = this.rows.viewport;
    const follow = h("input", { type: "checkbox", checked: true, onchange: () => this.setFollowing(follow.checked) });
    this.followBox = follow;
    const search = searchBox(T.search, T.console, () => this.search(search.value));
    this.count = h("span", { class: "soft nowrap", role: "status" });
    this.tools.append(
      h("label", { class: "check nowrap inline" }, follow, T.follow),
      h("span", { class: "filler" }),
      this.count,
      search,
      h("button", { type: "button", class: "small", onclick: () => void this.copy() }, T.copy),
      h(
        "button",
        { type: "button", class: "small", onclick: () => download("console.txt", [this.text(), "\n"], "text/plain") },
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
    return this.found ? this.found[index] : state.firstLine + index;
  }
  /** @param {number} index */
  lineAt(index) {
    return state.lines[this.numberAt(index) - state.firstLine] ?? "";
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
    this.found = null;
    this.update();
  }

  /** Look through what has come since the last look. Lines are numbered from the first that ever was. */
  look() {
    const { lines, firstLine } = state;
    const last = firstLine + lines.length;
    if (!this.found || this.lookedIn !== lines) {
      this.found = [];
      this.looked = 0;
      this.lookedIn = lines;
    }
    // The last line may have grown since.
    const from = Math.max(firstLine, this.looked - 1);
    while (this.found.length && this.found[this.found.length - 1] >= from) this.found.pop();
    const gone = this.found.findIndex((at) => at >= firstLine);
    if (gone) this.found.splice(0, gone < 0 ? this.found.length : gone);
    for (let at = from; at < last; at++)
      if (
        bare(lines[at - firstLine])
          .toLowerCase()
          .includes(this.query)
      )
        this.found.push(at);
    this.looked = last;
  }

  update() {
    const view = this.rows.viewport;
    this.empty.hidden = state.lines.length > 0;
    if (this.query) this.look();
    setText(this.count, this.found ? `${this.found.length} / ${state.lines.length}` : "");
    const shift = state.firstLine - (this.first ?? state.firstLine);
    this.first = state.firstLine;
    if (shift && !this.isFollowing && !this.found) view.scrollTop -= shift * HEIGHT; // What one reads stays where it is.
    this.rows.resize(this.found ? this.found.length : state.lines.length);
    if (this.isFollowing) {
      this.rows.scrollTo(this.rows.count * HEIGHT);
      this.seen = this.rows.top;
    }
  }

  text() {
    return (this.found ? this.found.map((at) => state.lines[at - state.firstLine] ?? "") : state.lines)
      .map(bare)
      .join("\n");
  }

  async copy() {
    await copyText(this.text());
    notify(T.consoleCopied);
  }
}
customElements.define("qs-console", ConsolePanel);
