// The page: finds out who asks, draws the view that the address names, begins to follow.
import { mountNotices, notify } from "./dialogs.js";
import { fill, h, setText } from "./dom.js";
import { changePerson, logIn, logOut } from "./login.js";
import { turn } from "./slices.js";
import { follow, learnMe, may, on, state } from "./store.js";
import { T } from "./texts.js";
import "./status.js";
import "./running.js";
import "./queue.js";
import "./add.js";
import "./proposals.js";
import "./history.js";
import "./console.js";
import "./lists.js";
import "./access.js";
import "./admin.js";

const title = document.querySelector("meta[name=application-name]")?.getAttribute("content") || "Queue Server";

/** The views, and their panels by column. @type {Record<string, {label: string, columns: Record<string, string[]>, scopes?: string[]}>} */
const VIEWS = {
  operate: {
    label: T.operate,
    columns: {
      "": ["qs-status"],
      work: ["qs-running", "qs-queue", "qs-history"],
      side: ["qs-add", "qs-proposals", "qs-console"],
    },
  },
  lists: { label: T.lists, columns: { "": ["qs-lists"] } },
  access: { label: T.access, columns: { "": ["qs-access"] } },
  admin: { label: T.admin, columns: { "": ["qs-admin"] }, scopes: ["admin:audit", "admin:read:principals"] },
};

/** Pages that custom modules have added, for those who may see them. */
function modulePages() {
  const metas = [...document.querySelectorAll("meta[name=qserver-page]")];
  return metas
    .map((meta) => ({
      path: meta.getAttribute("content") ?? "",
      title: meta.getAttribute("data-title") ?? "",
      scope: meta.getAttribute("data-scope") ?? "",
    }))
    .filter((page) => may(page.scope));
}

const viewNow = () => new URLSearchParams(location.search).get("view") ?? "operate";

function header() {
  const connection = h("span", { class: "connection", role: "status" });
  const who = h("span", { class: "who" });
  const enter = h("button", { type: "button", class: "enter", onclick: () => void changePerson() }, T.logIn);
  const leave = h("button", { type: "button", onclick: () => void logOut() }, T.logOut);
  const nav = h("nav", { "aria-label": T.views });
  on("connection", () => {
    setText(connection, { live: T.live, lost: T.lost }[state.connection] ?? T.connecting);
    connection.dataset.state = state.connection;
  });
  on("me", () => {
    setText(who, state.me.label);
    who.title = `${T.roles}: ${state.me.roles.join(", ")}`;
    leave.hidden = !state.me.isKnown;
    enter.hidden = state.me.isKnown;
    fill(
      nav,
      Object.entries(VIEWS)
        .filter(([, view]) => !view.scopes || may(...view.scopes))
        .map(([name, view]) =>
          h(
            "a",
            { href: `ui?view=${name}`, "aria-current": name === viewNow() ? "page" : false, "data-view": name },
            view.label,
          ),
        ),
      modulePages().map((page) =>
        h("a", { href: `api/pages/${encodeURIComponent(page.path)}/index.html` }, page.title),
      ),
      h("a", { href: "ui?view=wall" }, T.wall),
      h("a", { href: "docs" }, T.docs),
    );
  });
  nav.addEventListener("click", (/** @type {any} */ event) => {
    const name = event.target.dataset?.view;
    if (!name || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, "", `ui?view=${name}`);
    showView();
  });
  return h(
    "header",
    { class: "banner" },
    h("img", { src: "ui/static/icon.svg", alt: "", width: 22, height: 22 }),
    h("h1", {}, title),
    connection,
    nav,
    h("span", { class: "filler" }),
    who,
    enter,
    leave,
  );
}

const main = h("main", { id: "main", tabindex: "-1" });
/** @type {Map<string, HTMLElement>} */
const drawn = new Map();

/** Views are drawn once and hidden after: what was typed stays. */
function showView() {
  const name = VIEWS[viewNow()] ? viewNow() : "operate";
  if (!drawn.has(name)) {
    const view = h("div", { class: `view view-${name}` });
    drawn.set(name, view);
    main.append(view);
    void drawPanels(view, VIEWS[name].columns);
  }
  for (const [one, view] of drawn) view.hidden = one !== name;
  for (const link of document.querySelectorAll("nav a[data-view]")) {
    if (/** @type {HTMLElement} */ (link).dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Draw one panel after another. @param {HTMLElement} view @param {Record<string, string[]>} columns */
async function drawPanels(view, columns) {
  for (const [name, panels] of Object.entries(columns)) {
    const column = name ? h("div", { class: `column ${name}` }) : view;
    if (name) view.append(column);
    for (const panel of panels) {
      await turn();
      column.append(h(panel));
    }
  }
}

function lostBanner() {
  const banner = h("div", { class: "lost", role: "alert", hidden: true });
  let wasLost = false;
  on("connection status", () => {
    const isLost = state.connection === "lost";
    const text = isLost ? T.lostLong : state.isAvailable ? "" : T.noManager;
    banner.hidden = !text;
    setText(banner, text);
    if (wasLost && state.connection === "live") notify(T.back);
    if (state.connection !== "connecting") wasLost = isLost;
  });
  return banner;
}

async function start() {
  const isWall = viewNow() === "wall";
  if (isWall) {
    await import("./wall.js");
    document.body.append(lostBanner(), h("qs-wall"));
  } else {
    document.body.append(
      h(
        "a",
        {
          class: "skip",
          href: "#main",
          onclick: (/** @type {Event} */ event) => {
            event.preventDefault();
            main.focus();
          },
        },
        "Skip to content",
      ),
      header(),
      lostBanner(),
      main,
    );
    mountNotices(document.body);
    addEventListener("popstate", showView);
    showView();
  }
  for (;;) {
    try {
      if (await learnMe()) break;
      await logIn();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
  await follow();
}

void start();
