// What ran when, by user: a picture of the last day.
import { clock, h } from "./dom.js";
import { describe } from "./items.js";

const NAMES = "http://www.w3.org/2000/svg";

/** @param {string} tag @param {Record<string, any>} attributes @param {...(Node|string)} children */
function svg(tag, attributes, ...children) {
  const element = document.createElementNS(NAMES, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

const STATUSES = ["completed", "failed", "stopped", "aborted", "halted"];

/** What stands side by side within a pixel becomes one bar: thousands of plans are drawn too. @param {any[]} items @param {(time: number) => number} x */
function bars(items, x) {
  /** @type {{from: number, to: number, status: string, text: string, more: number}[]} */
  const all = [];
  for (const item of items) {
    const { time_start, time_stop, exit_status } = item.result;
    const status = STATUSES.includes(exit_status) ? exit_status : "unknown";
    const last = all.at(-1);
    if (last && last.status === status && x(time_start) - last.from < 1) {
      last.to = x(time_stop);
      last.more += 1;
    } else
      all.push({
        from: x(time_start),
        to: x(time_stop),
        status,
        text: `${item.name}(${describe(item)}) ${status}, ${clock(time_start)} – ${clock(time_stop)}`,
        more: 0,
      });
  }
  return all;
}

/** @param {any[]} items */
export function dayPlot(items) {
  const end = Date.now() / 1000;
  const recent = items.filter((item) => item.result?.time_stop > end - 86_400);
  const begin = Math.max(end - 86_400, Math.min(end - 600, ...recent.map((item) => item.result.time_start)));
  const users = [...new Set(recent.map((item) => String(item.user)))];
  const width = 800;
  const left = 130;
  const x = (/** @type {number} */ time) => left + ((time - begin) / (end - begin)) * (width - left - 10);
  const height = users.length * 26 + 30;
  const marks = [0, 0.25, 0.5, 0.75, 1].map((part) => begin + part * (end - begin));
  return h(
    "div",
    {},
    svg(
      "svg",
      {
        viewBox: `0 0 ${width} ${height}`,
        class: "plot",
        role: "img",
        "aria-label": `${recent.length} plans, ${users.length} users`,
      },
      ...marks.map((time, at) =>
        svg(
          "g",
          {},
          svg("line", { class: "axis", x1: x(time), x2: x(time), y1: 0, y2: height - 20 }),
          svg(
            "text",
            { x: x(time), y: height - 6, "text-anchor": at === 4 ? "end" : at ? "middle" : "start" },
            clock(time).slice(0, 5),
          ),
        ),
      ),
      ...users.flatMap((user, row) => [
        svg("text", { x: 0, y: row * 26 + 18 }, user.length > 18 ? `${user.slice(0, 17)}…` : user),
        ...bars(
          recent.filter((item) => String(item.user) === user),
          (time) => x(Math.max(time, begin)),
        ).map((bar) =>
          svg(
            "rect",
            {
              class: bar.status,
              x: bar.from,
              y: row * 26 + 4,
              width: Math.max(2, bar.to - bar.from),
              height: 18,
              rx: 2,
            },
            svg("title", {}, bar.text + (bar.more ? ` + ${bar.more}` : "")),
          ),
        ),
      ]),
    ),
  );
}
