// Vectors of pictures, made in the background: a few pictures in a request, a few requests at a time. They are only in this
// page's memory, all of one fingerprint.
//
// A broken picture fails alone, and an overloaded service is asked again after Retry-After. For another failure of a request
// `state.problem` has the reason, and the index waits for `goOn`.
import { cosine } from "./api.js";
import { REFUSED } from "./classify_answers.js";

const PICTURES_AT_MOST = 4; // of a request
const BYTES_AT_MOST = 8_000_000; // of a request of several pictures; the service takes 20 MB by default
const REQUESTS_AT_A_TIME = 2;
const GONE = "The file cannot be read any more: it was moved, changed or deleted after it was chosen.";

export class Index {
  #entries = new Map(); // id of a picture -> {picture, state: waiting, sent, done or failed; vector, error, alone}
  #api;
  #change;
  #model;
  #fingerprint; // that of the first answer; a service with another one refuses the next request
  #turn = 0; // answers to requests of an earlier turn are ignored
  #inFlight = 0;
  #problem;
  #wait = 0; // seconds of a pause

  // `api`: the module api.js; `change()` is called after each change.
  constructor(api, change) {
    this.#api = api;
    this.#change = change;
  }

  // These pictures and no others.
  set(pictures) {
    const ids = new Set(pictures.map(({ id }) => id));
    for (const id of this.#entries.keys()) if (!ids.has(id)) this.#entries.delete(id);
    for (const picture of pictures) {
      if (this.#entries.has(picture.id)) continue;
      this.#entries.set(picture.id, { picture, state: "waiting" });
    }
    this.#pump();
  }

  use(model) {
    if (this.#model && this.#model.id !== model.id) this.#restart();
    this.#model = model;
    if (this.#problem?.status === 401) this.goOn();
    else this.#pump();
  }

  goOn() {
    if (this.#problem?.code === "wrong_fingerprint") this.#restart();
    this.#problem = undefined;
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

  // {total, done, left: numbers; failed: [{picture, error}]; fingerprint, problem; wait: seconds of a pause}
  get state() {
    const done = this.#in("done").length;
    const failed = this.#in("failed");
    const total = this.#entries.size;
    return { total, done, left: total - done - failed.length, failed, fingerprint: this.#fingerprint, problem: this.#problem, wait: this.#wait };
  }

  #in(state) {
    return [...this.#entries.values()].filter((entry) => entry.state === state);
  }

  #pump() {
    while (this.#model && !this.#problem && !this.#wait && this.#inFlight < REQUESTS_AT_A_TIME) {
      const batch = this.#nextBatch();
      if (!batch.length) break;
      this.#send(batch);
    }
    this.#change();
  }

  #nextBatch() {
    const batch = [];
    let size = 0;
    for (const entry of this.#in("waiting")) {
      size += entry.picture.size;
      if (batch.length && (entry.alone || batch[0].alone || batch.length === PICTURES_AT_MOST || size > BYTES_AT_MOST)) break;
      batch.push(entry);
    }
    return batch;
  }

  async #send(batch) {
    const turn = this.#turn;
    this.#inFlight += 1;
    batch.forEach((entry) => (entry.state = "sent"));
    try {
      const images = batch.map(({ picture }) => picture.blob);
      const answer = await this.#api.embed({ images, model: this.#model.id, fingerprint: this.#fingerprint });
      if (turn === this.#turn) this.#take(batch, answer);
    } catch (error) {
      const failure = error.code === "unreachable" && !(await readable(batch)) ? new Error(GONE) : error;
      if (turn === this.#turn) this.#failed(batch, failure);
    }
    this.#inFlight -= 1;
    this.#pump();
  }

  #take(batch, answer) {
    this.#fingerprint ??= answer.fingerprint;
    batch.forEach((entry, at) => {
      const found = answer.images[at];
      if (answer.fingerprint !== this.#fingerprint) entry.state = "waiting"; // the next request is refused and says why
      else if (found instanceof Error) Object.assign(entry, { state: "failed", error: found });
      else Object.assign(entry, { state: "done", vector: found });
    });
  }

  #failed(batch, error) {
    const ofPictures = error.message === GONE || REFUSED.includes(error.status);
    // One of several pictures may be the cause, or all of them together are too large.
    if (ofPictures && batch.length === 1) Object.assign(batch[0], { state: "failed", error });
    else batch.forEach((entry) => Object.assign(entry, { state: "waiting", alone: ofPictures }));
    if (ofPictures) return;
    if (!error.retryAfter) this.#problem = error;
    else if (!this.#wait) {
      this.#wait = error.retryAfter;
      setTimeout(() => { this.#wait = 0; this.#pump(); }, 1000 * error.retryAfter);
    }
  }

  #restart() {
    this.#turn += 1;
    this.#fingerprint = undefined;
    for (const entry of this.#entries.values()) {
      Object.assign(entry, { state: "waiting", vector: undefined, error: undefined });
    }
  }
}

// Whether all files are still there: without one, the request fails like one without a network.
async function readable(batch) {
  const reads = batch.map(({ picture }) => picture.blob.slice(0, 1).arrayBuffer());
  return Promise.all(reads).then(() => true, () => false);
}
