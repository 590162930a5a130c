// The one place that calls the service. Addresses are relative to the page, so that a prefix of a proxy is kept.

const KEY = "clipserve.key";
let key = stored();

// "unauthenticated": a call needs a key, or another key; `detail` is the ApiError. "answered": `detail` is what `call` returns.
export const events = new EventTarget();

// An error as the API describes it: `code`, `message` (its detail), `limit`, `actual`, `index`, `status`, `requestId`,
// `retryAfter` in seconds. Fields that do not apply are undefined. Without an answer, `code` is "unreachable".
export class ApiError extends Error {
  constructor(problem, more = {}) {
    super(problem.detail);
    this.name = "ApiError";
    Object.assign(this, { code: problem.code, limit: problem.limit, actual: problem.actual, index: problem.index }, more);
  }
}

export function hasKey() {
  return Boolean(key);
}

export function setKey(value) {
  key = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // Storage is off: the key holds until the page is left.
  }
}

function stored() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

// Call `path`, such as "embed" or "label-sets/pets". `json`: an object to send; `form`: a FormData.
// Returns {body, requestId, fingerprint, timing: [{name, ms}], ms: from sending to the whole answer}.
// Throws an ApiError; or what `signal` aborts with.
export async function call(path, { method, json, form, signal } = {}) {
  const headers = {};
  if (key) headers.Authorization = `Bearer ${key}`;
  if (json) headers["Content-Type"] = "application/json";
  const started = performance.now();
  let response;
  let body;
  try {
    response = await fetch(path, {
      method: method ?? (json || form ? "POST" : "GET"),
      headers,
      body: json ? JSON.stringify(json) : form,
      signal,
      credentials: "omit",
    });
    body = response.status === 204 ? {} : await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ code: "unreachable", detail: "The service gave no answer that this page can read. Is it running?" });
  }
  const requestId = response.headers.get("X-Request-Id");
  if (!response.ok) {
    const retryAfter = Number(response.headers.get("Retry-After")) || undefined;
    const error = new ApiError(body, { status: response.status, requestId, retryAfter });
    if (response.status === 401) events.dispatchEvent(new CustomEvent("unauthenticated", { detail: error }));
    throw error;
  }
  const answer = {
    body,
    requestId,
    fingerprint: body.fingerprint,
    timing: parsedTiming(response.headers.get("Server-Timing") ?? ""),
    ms: performance.now() - started,
  };
  events.dispatchEvent(new CustomEvent("answered", { detail: answer }));
  return answer;
}

// "decode;dur=1.2, encode;dur=3" -> [{name: "decode", ms: 1.2}, {name: "encode", ms: 3}]
export function parsedTiming(header) {
  return [...header.matchAll(/([^\s,;]+);dur=([\d.]+)/g)].map(([, name, ms]) => ({ name, ms: Number(ms) }));
}

// Vectors of image blobs and of texts, of unit length. Returns what `call` does, and `images` and `texts`: a Float32Array each,
// or the ApiError of an image.
export async function embed({ images = [], texts = [], model, fingerprint, signal }) {
  const fields = { encoding_format: "base64" };
  if (model) fields.model = model;
  if (fingerprint) fields.expect_fingerprint = fingerprint;
  let answer;
  if (images.length) {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    for (const text of texts) form.append("texts", text);
    for (const image of images) form.append("image", image, image.name || "image");
    answer = await call("embed", { form, signal });
  } else {
    answer = await call("embed", { json: { ...fields, texts }, signal });
  }
  const found = answer.body.results.map((each) => (each.error ? new ApiError(each.error) : vector(each.embedding)));
  return { ...answer, images: found.slice(0, images.length), texts: found.slice(images.length) };
}

function vector(base64) {
  const bytes = Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
  return new Float32Array(bytes.buffer); // little-endian, as every browser's machine is
}

// Cosine of two vectors of unit length.
export function cosine(a, b) {
  let sum = 0;
  for (let at = 0; at < a.length; at += 1) sum += a[at] * b[at];
  return sum;
}
