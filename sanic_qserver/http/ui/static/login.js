// Who asks: logs in over whatever is on the page, which stays as it is.
import { ApiError, ask, onUnauthenticated, secrets } from "./api.js";
import { fill, h, newId } from "./dom.js";
import { follow, forget, learnMe, state } from "./store.js";
import { T } from "./texts.js";

/** @type {Promise<void>|null} */
let asking = null;

/** Ask until somebody is in. Those who ask meanwhile wait for the same answer. @param {boolean} [isAgain] @param {boolean} [mayCancel] @returns {Promise<void>} */
export function logIn(isAgain = false, mayCancel = false) {
  asking ??= showLogin(isAgain, mayCancel).finally(() => {
    asking = null;
  });
  return asking;
}

onUnauthenticated(async () => {
  const before = state.me.label;
  await logIn(true);
  await enter(before);
});

/** Learn who has come in, and show what they may see. @param {string} before who it was */
async function enter(before) {
  await learnMe();
  if (before && state.me.label !== before) {
    forget();
    await follow();
  }
}

/** Log in on one's own wish. */
export async function changePerson() {
  await logIn(false, true);
  await enter(state.me.label);
}

/** @param {boolean} isAgain @param {boolean} mayCancel @returns {Promise<void>} */
async function showLogin(isAgain, mayCancel) {
  const about = await ask("GET", "", undefined, { isLogin: true, isPublic: true }).catch(() => ({
    authentication: {},
  }));
  const ways = about.authentication?.providers ?? [];
  return new Promise((resolve) => {
    const title = newId("login");
    const problem = h("p", { class: "problem", role: "alert" });
    /** @param {() => Promise<any>} way */
    const attempt = async (way) => {
      fill(problem);
      try {
        await way();
        dialog.dataset.done = "yes";
        dialog.close();
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        fill(problem, error.message || T.offline);
      }
    };
    const forms = ways.map((/** @type {any} */ way) =>
      way.mode === "password" ? passwordForm(way, ways.length > 1, attempt) : elsewhere(way),
    );
    const dialog = h(
      "dialog",
      { class: "login", "aria-labelledby": title },
      h("h2", { id: title }, T.loginTitle),
      isAgain ? h("p", {}, T.loginAgain) : null,
      forms,
      h(
        "section",
        { class: "key-login", "aria-label": T.apiKey },
        forms.length ? h("h3", {}, T.orKey) : null,
        keyForm(attempt, forms.length === 0),
      ),
      problem,
      mayCancel ? h("button", { type: "button", onclick: () => dialog.close() }, T.cancel) : null,
    );
    dialog.addEventListener("cancel", (/** @type {Event} */ event) => {
      if (!mayCancel) event.preventDefault();
    });
    dialog.addEventListener("close", () => {
      if (dialog.dataset.done !== "yes" && !mayCancel) return dialog.showModal();
      dialog.remove();
      document.body.classList.remove("is-logging-in");
      resolve();
    });
    document.body.append(dialog);
    document.body.classList.add("is-logging-in"); // One "Log in" at a time.
    dialog.showModal();
  });
}

/** @param {any} way @param {boolean} isOneOfSeveral @param {(way: () => Promise<any>) => void} attempt */
function passwordForm(way, isOneOfSeveral, attempt) {
  const username = h("input", {
    name: "username",
    autocomplete: "username",
    required: true,
    autofocus: true,
    maxlength: 1024,
  });
  const password = h("input", {
    name: "password",
    type: "password",
    autocomplete: "current-password",
    required: true,
    maxlength: 1024,
  });
  const form = h(
    "form",
    {},
    isOneOfSeveral ? h("h3", {}, way.title || way.provider) : null,
    h("label", { class: "field" }, h("span", {}, T.username), username),
    h("label", { class: "field" }, h("span", {}, T.password), password),
    h("button", { type: "submit", class: "primary wide-button" }, T.logIn),
  );
  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    const body = new URLSearchParams({ username: username.value, password: password.value, cookie: "true" });
    attempt(async () => {
      await ask("POST", `auth/provider/${encodeURIComponent(way.provider)}/token`, body, { isLogin: true });
      secrets.key = "";
      password.value = "";
    });
  });
  return form;
}

/** @param {any} way */
function elsewhere(way) {
  const here = new URL("ui", document.baseURI);
  const goal = `${here.pathname}${location.search}`;
  return h(
    "p",
    {},
    h(
      "a",
      {
        class: "button wide-button",
        href: `api/auth/provider/${encodeURIComponent(way.provider)}/authorize?next=${encodeURIComponent(goal)}`,
      },
      T.loginWith(way.title || way.provider),
    ),
  );
}

/** @param {(way: () => Promise<any>) => void} attempt @param {boolean} isOnlyWay */
function keyForm(attempt, isOnlyWay) {
  const key = h("input", {
    name: "api_key",
    type: "text",
    class: "secret",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-label": T.apiKey,
  });
  const form = h(
    "form",
    {},
    h("p", { class: "hint" }, isOnlyWay ? T.loginOnlyKeyHelp : T.loginKeyHelp),
    key,
    h("button", { type: "submit", class: isOnlyWay ? "primary wide-button" : "" }, isOnlyWay ? T.logIn : T.loginUse),
  );
  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    const value = key.value.trim().replace(/^apikey\s+/i, "");
    attempt(async () => {
      const headers = { Authorization: `ApiKey ${value}` };
      try {
        await ask("POST", "auth/cookie", {}, { headers, isLogin: true });
        secrets.key = "";
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 403) throw error;
        secrets.key = value; // A key of an account is no session: it stays in this tab.
      }
      key.value = "";
    });
  });
  return form;
}

/** End the session. */
export async function logOut() {
  secrets.lockKey = "";
  try {
    await ask("POST", "auth/logout", {}, { isLogin: true });
  } finally {
    secrets.key = "";
    location.reload();
  }
}
