// The question: a sentence, embedded as it was typed, or one of the pictures.
export class Question {
  #api;
  #index;
  #model;
  #on;
  #turn = 0;
  #asking = false;
  #vector; // of the sentence
  #fingerprint;
  text; // what is looked for: this,
  picture; // this, or neither
  error; // of the last request, if it has failed
  wait; // seconds until the retry, if the service said so

  // `model()`: the chosen one. `on`: {change(), answer(answer of api.embed)}
  constructor({ api, index, model, on }) {
    this.#api = api;
    this.#index = index;
    this.#model = model;
    this.#on = on;
  }

  // ask({text}), ask({picture}); ask({}) looks for nothing.
  ask({ text, picture }) {
    this.#turn += 1;
    Object.assign(this, { text, picture, error: undefined, wait: undefined });
    this.#vector = undefined;
    this.#asking = false;
    if (text) this.#embed();
    this.#on.change();
  }

  // Embeds the sentence again if its vector has another fingerprint than the pictures.
  follow(state) {
    const other = this.#vector && this.#fingerprint !== state.fingerprint;
    if (other && !this.#asking && !this.error && !state.problem) this.#embed();
  }

  // The vector that the pictures are compared with, or undefined.
  get vector() {
    if (this.picture) return this.#index.vectorOf(this.picture.id);
    return this.#fingerprint === this.#index.state.fingerprint ? this.#vector : undefined;
  }

  get asksForNothing() {
    return !this.text && !this.picture;
  }

  async #embed() {
    const mine = this.#turn;
    this.#asking = true;
    Object.assign(this, { error: undefined, wait: undefined });
    try {
      const answer = await this.#api.embed({ texts: [this.text], model: this.#model()?.id });
      if (mine !== this.#turn) return;
      [this.#vector] = answer.texts;
      this.#fingerprint = answer.fingerprint;
      this.#asking = false;
      this.#on.answer(answer);
      this.#index.meet(answer.fingerprint);
    } catch (error) {
      if (mine !== this.#turn) return;
      this.#failed(error, mine);
    }
    this.#on.change();
  }

  #failed(error, mine) {
    if (!error.retryAfter) {
      this.error = error;
      this.#asking = false;
      return;
    }
    this.wait = error.retryAfter;
    setTimeout(() => mine === this.#turn && this.#embed(), 1000 * error.retryAfter);
  }
}
