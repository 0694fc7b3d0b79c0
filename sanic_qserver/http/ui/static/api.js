// Calls of the public API. Nothing is sent twice unless the answer says that the first did nothing (401).

/** What went wrong, in the server's words. */
export class ApiError extends Error {
  /** @param {number} status @param {any} problem */
  constructor(status, problem) {
    super(problem.detail || problem.msg || problem.title || `HTTP ${status}`);
    this.status = status;
    this.code = problem.code || "";
  }
}

/** Credentials of this tab: an API key that cannot become a cookie lives here, and only here. */
export const secrets = { key: "", lockKey: "" };

/** @type {() => Promise<void>} */
let askLogin = () => Promise.reject(new Error("no login"));
/** Say who asks people to log in. @param {() => Promise<void>} ask */
export function onUnauthenticated(ask) {
  askLogin = ask;
}

function csrf() {
  const found = document.cookie.split("; ").find((part) => part.startsWith("sanic_qserver_csrf="));
  return found ? decodeURIComponent(found.slice(found.indexOf("=") + 1)) : "";
}

/**
 * Ask the API.
 * @param {string} verb @param {string} path below /api @param {any} [body] an object, or FormData
 * @param {{headers?: Record<string, string>, isLogin?: boolean, isPublic?: boolean}} [more] isPublic: a session that has ended does not go along
 * @returns {Promise<any>}
 */
export async function ask(verb, path, body, more = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json", ...more.headers };
  if (secrets.key && !headers.Authorization && !more.isPublic) headers.Authorization = `ApiKey ${secrets.key}`;
  if (verb !== "GET") headers["X-CSRF"] = csrf();
  const isForm = body instanceof FormData || body instanceof URLSearchParams;
  if (body !== undefined && !isForm) headers["Content-Type"] = "application/json";
  let reply;
  try {
    reply = await fetch(`api/${path}`, {
      method: verb,
      credentials: more.isPublic ? "omit" : "same-origin",
      headers,
      body: body === undefined ? undefined : isForm ? body : JSON.stringify(body),
    });
  } catch {
    throw new ApiError(0, { detail: "", code: "offline" });
  }
  if (reply.status === 401 && !more.isLogin) {
    await askLogin();
    return ask(verb, path, body, more);
  }
  const text = await reply.text();
  let content;
  try {
    content = text ? JSON.parse(text) : {};
  } catch {
    content = { detail: text.slice(0, 300) };
  }
  if (!reply.ok) throw new ApiError(reply.status, content);
  return content;
}

/** A call that changes something, with the lock's key if this tab has it. @param {string} path @param {any} [body] */
export function post(path, body = {}) {
  return ask("POST", path, secrets.lockKey ? { ...body, lock_key: secrets.lockKey } : body);
}

/** @param {string} path */
export const get = (path) => ask("GET", path);
