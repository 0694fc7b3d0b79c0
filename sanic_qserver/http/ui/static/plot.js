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
        ...recent
          .filter((item) => String(item.user) === user)
          .map((item) => {
            const from = x(Math.max(item.result.time_start, begin));
            const status = ["completed", "failed", "stopped", "aborted", "halted"].includes(item.result.exit_status)
              ? item.result.exit_status
              : "unknown";
            return svg(
              "rect",
              {
                class: status,
                x: from,
                y: row * 26 + 4,
                width: Math.max(2, x(item.result.time_stop) - from),
                height: 18,
                rx: 2,
              },
              svg(
                "title",
                {},
                `${item.name}(${describe(item)}) ${status}, ${clock(item.result.time_start)} – ${clock(item.result.time_stop)}`,
              ),
            );
          }),
      ]),
    ),
  );
}
