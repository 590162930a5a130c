// The one place that calls the service. Addresses are relative to the page, so that a prefix of a proxy is kept.

const KEY = "clipserve.key";
let key = stored();

// "unauthenticated": a call needs a key, or another key; `detail` is the ApiError.
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
// Returns {body, fingerprint}. Throws an ApiError.
export async function call(path, { method, json, form } = {}) {
  const headers = {};
  if (key) headers.Authorization = `Bearer ${key}`;
  if (json) headers["Content-Type"] = "application/json";
  let response;
  let body;
  try {
    response = await fetch(path, {
      method: method ?? (json || form ? "POST" : "GET"),
      headers,
      body: json ? JSON.stringify(json) : form,
      credentials: "same-origin", // a proxy in front may ask who it is
    });
    body = response.status === 204 ? {} : await response.json();
  } catch {
    throw new ApiError({ code: "unreachable", detail: "The service gave no answer that this page can read. Is it running?" });
  }
  if (!response.ok) {
    const requestId = response.headers.get("X-Request-Id");
    const retryAfter = Number(response.headers.get("Retry-After")) || undefined;
    const error = new ApiError(body, { status: response.status, requestId, retryAfter });
    if (response.status === 401) events.dispatchEvent(new CustomEvent("unauthenticated", { detail: error }));
    throw error;
  }
  return { body, fingerprint: body.fingerprint };
}

// Vectors of image blobs or of texts, of unit length: {images, texts, fingerprint}, of each a Float32Array, or the ApiError of an
// image. `fingerprint`: that of other vectors; a service with another one refuses the request.
export async function embed({ images = [], texts = [], model, fingerprint }) {
  const fields = { encoding_format: "base64", ...(model && { model }), ...(fingerprint && { expect_fingerprint: fingerprint }) };
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  for (const image of images) form.append("image", image, image.name || "image");
  const answer = await call("embed", images.length ? { form } : { json: { ...fields, texts } });
  const found = answer.body.results.map((each) => (each.error ? new ApiError(each.error) : vector(each.embedding)));
  return { fingerprint: answer.fingerprint, images: found.slice(0, images.length), texts: found.slice(images.length) };
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
