// Vectors of pictures, made in the background: a few pictures in a request, a few requests at a time. They are only in this
// page's memory, all of one fingerprint.
//
// A broken picture fails alone. Requests are retried after Retry-After, and a few times without an answer; then
// `state.problem` has the reason, and the index waits for `goOn`.
import { cosine } from "./api.js";

const PICTURES_AT_MOST = 4; // of a request
const BYTES_AT_MOST = 8_000_000; // of a request of several pictures; the service takes 20 MB by default
const REQUESTS_AT_A_TIME = 2;
const TRIES = 4; // in a row without an answer
const CHANGES_AT_MOST = 3; // of the fingerprint, before it waits for `goOn`

const REFUSED = [400, 413, 415, 422]; // for what is in the request
const MAY_PASS = [408, 500, 502, 503, 504];

const GONE = "The file cannot be read any more: it was moved, changed or deleted after it was chosen.";

export class Index {
  #entries = new Map(); // id of a picture -> {picture, state: waiting, sent, done or failed; vector, error, alone}
  #api;
  #on;
  #model;
  #fingerprint;
  #changes = 0;
  #failures = 0; // in a row
  #inFlight = 0;
  #problem;
  #stopped = false;
  #waitUntil = 0;
  #aborting = new AbortController();

  // `api`: the module api.js. `on`: {change(), answer(answer of api.embed), renewed(from, to)}; the last one when another
  // fingerprint has made the vectors worthless.
  constructor(api, on) {
    this.#api = api;
    this.#on = on;
  }

  // These pictures and no others.
  set(pictures) {
    const ids = new Set(pictures.map(({ id }) => id));
    for (const id of this.#entries.keys()) if (!ids.has(id)) this.#entries.delete(id);
    for (const picture of pictures) {
      if (this.#entries.has(picture.id)) continue;
      const entry = { picture, state: "waiting" };
      this.#entries.set(picture.id, entry);
      if (picture.error) fail(entry, new Error(picture.error));
    }
    this.#changes = 0;
    this.#pump();
  }

  use(model) {
    if (this.#model && this.#model.id !== model.id) {
      this.#fingerprint = undefined;
      this.#renew();
    }
    this.#model = model;
    if (this.#problem?.status === 401) this.goOn();
    else this.#pump();
  }

  // An answer has this fingerprint. If it has changed, all vectors are made again, except those of `batch`: vectors of
  // different fingerprints are never compared.
  meet(fingerprint, batch = []) {
    const before = this.#fingerprint;
    this.#fingerprint = fingerprint;
    if (!before || before === fingerprint) return;
    this.#renew(batch);
    this.#changes += 1;
    if (this.#changes > CHANGES_AT_MOST) this.#problem = new Error(mixed(this.#changes, before, fingerprint));
    this.#on.renewed(before, fingerprint);
    this.#pump();
  }

  stop() {
    this.#stopped = true;
    this.#on.change();
  }

  goOn() {
    this.#stopped = false;
    this.#problem = undefined;
    this.#failures = 0;
    this.#changes = 0;
    this.#pump();
  }

  // [{picture, score}], the highest cosine first. `vector`: of the fingerprint of the state. `but`: an id to leave out.
  ranked(vector, but) {
    return this.#in("done")
      .filter(({ picture }) => picture.id !== but)
      .map((entry) => ({ picture: entry.picture, score: cosine(vector, entry.vector) }))
      .sort((a, b) => b.score - a.score);
  }

  vectorOf(id) {
    return this.#entries.get(id)?.vector;
  }

  // {total, done, left: numbers; failed: [{picture, error}]; fingerprint, problem, stopped; wait: seconds of a pause}
  get state() {
    const done = this.#in("done").length;
    const failed = this.#in("failed");
    return {
      total: this.#entries.size,
      done,
      left: this.#entries.size - done - failed.length,
      failed,
      fingerprint: this.#fingerprint,
      problem: this.#problem,
      stopped: this.#stopped,
      wait: Math.max(0, Math.ceil((this.#waitUntil - Date.now()) / 1000)),
    };
  }

  #in(state) {
    return [...this.#entries.values()].filter((entry) => entry.state === state);
  }

  #pump() {
    const mayAsk = () => this.#model && !this.#problem && !this.#stopped && Date.now() >= this.#waitUntil;
    while (mayAsk() && this.#inFlight < REQUESTS_AT_A_TIME) {
      const batch = this.#nextBatch();
      if (!batch.length) break;
      this.#send(batch);
    }
    this.#on.change();
  }

  #nextBatch() {
    const batch = [];
    let size = 0;
    for (const entry of this.#in("waiting")) {
      const fits = batch.length < PICTURES_AT_MOST && size + entry.picture.size <= BYTES_AT_MOST && !entry.alone;
      if (batch.length && !fits) break;
      batch.push(entry);
      size += entry.picture.size;
      if (entry.alone) break;
    }
    return batch;
  }

  async #send(batch) {
    const { signal } = this.#aborting;
    this.#inFlight += 1;
    batch.forEach((entry) => (entry.state = "sent"));
    try {
      const images = batch.map(({ picture }) => picture.blob);
      const answer = await this.#api.embed({ images, model: this.#model.id, signal });
      if (!signal.aborted) this.#take(batch, answer);
    } catch (error) {
      if (!signal.aborted) await this.#failed(batch, error, signal);
    }
    this.#inFlight -= 1;
    this.#pump();
  }

  #take(batch, answer) {
    this.#failures = 0;
    batch.forEach((entry, at) => {
      const found = answer.images[at];
      if (found instanceof Error) fail(entry, found);
      else Object.assign(entry, { state: "done", vector: found });
    });
    this.#on.answer(answer);
    this.meet(answer.fingerprint, batch);
  }

  async #failed(batch, error, signal) {
    const readable = error.code === "unreachable" ? await Promise.all(batch.map(canBeRead)) : batch.map(() => true);
    if (signal.aborted) return;
    if (error.retryAfter) {
      batch.forEach((entry) => (entry.state = "waiting"));
      this.#pause(error.retryAfter);
    } else if (!readable.every(Boolean)) {
      batch.forEach((entry, at) => (readable[at] ? again(entry) : fail(entry, new Error(GONE))));
    } else if (REFUSED.includes(error.status)) {
      // One of several pictures may be the cause, or all of them together are too large.
      batch.forEach((entry) => (batch.length > 1 ? again(entry) : fail(entry, error)));
    } else {
      batch.forEach(again);
      this.#failures += 1;
      const mayPass = error.code === "unreachable" || MAY_PASS.includes(error.status);
      if (mayPass && this.#failures < TRIES) this.#pause(2 ** (this.#failures - 1));
      else this.#problem = error;
    }
  }

  #pause(seconds) {
    this.#waitUntil = Math.max(this.#waitUntil, Date.now() + 1000 * seconds);
    setTimeout(() => this.#pump(), this.#waitUntil - Date.now() + 1);
  }

  #renew(batch = []) {
    this.#aborting.abort();
    this.#aborting = new AbortController();
    this.#failures = 0;
    this.#waitUntil = 0;
    for (const entry of this.#entries.values()) {
      if (batch.includes(entry) || entry.picture.error) continue;
      Object.assign(entry, { state: "waiting", vector: undefined, error: undefined });
    }
  }
}

function fail(entry, error) {
  Object.assign(entry, { state: "failed", error });
}

function again(entry) {
  Object.assign(entry, { state: "waiting", alone: true });
}

function mixed(changes, before, now) {
  return (
    `The fingerprint of the answers has changed ${changes} times, last from ${before} to ${now}. Several models seem to ` +
    "answer at this address, and their vectors cannot be compared."
  );
}

// If a file is gone, the request fails like one without a network.
async function canBeRead({ picture }) {
  try {
    await picture.blob.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}
