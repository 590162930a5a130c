// The question: a sentence, embedded as it was typed, or one of the pictures.
export class Question {
  #api;
  #index;
  #model;
  #change;
  #turn = 0;
  #asking = false;
  #answer; // to the sentence: {texts: [vector], fingerprint}
  text; // what is looked for: this,
  picture; // this, or neither
  error; // of the last request, if it has failed
  wait; // seconds until the retry, if the service said so

  // `model()`: the chosen one; `change()` is called after each change.
  constructor({ api, index, model, change }) {
    this.#api = api;
    this.#index = index;
    this.#model = model;
    this.#change = change;
  }

  // ask({text}), ask({picture}); ask({}) looks for nothing.
  ask({ text, picture }) {
    this.#turn += 1;
    Object.assign(this, { text, picture, error: undefined, wait: undefined });
    this.#answer = undefined;
    this.#asking = false;
    if (text) this.#embed();
    this.#change();
  }

  // Embeds the sentence again if its vector has another fingerprint than the pictures.
  follow({ fingerprint }) {
    const other = this.#answer && fingerprint && this.#answer.fingerprint !== fingerprint;
    if (other && !this.#asking && !this.error) this.#embed();
  }

  // The vector that the pictures are compared with, or undefined.
  get vector() {
    if (this.picture) return this.#index.vectorOf(this.picture.id);
    return this.#answer?.fingerprint === this.#index.state.fingerprint ? this.#answer?.texts[0] : undefined;
  }

  get asksForNothing() {
    return !this.text && !this.picture;
  }

  async #embed() {
    const mine = this.#turn;
    this.#asking = true;
    this.wait = undefined;
    try {
      const { fingerprint } = this.#index.state;
      const answer = await this.#api.embed({ texts: [this.text], model: this.#model()?.id, fingerprint });
      if (mine === this.#turn) this.#answer = answer;
    } catch (error) {
      if (mine === this.#turn) this.#failed(error, mine);
    }
    if (mine !== this.#turn) return;
    this.#asking = Boolean(this.wait);
    this.#change();
  }

  #failed(error, mine) {
    this.wait = error.retryAfter;
    if (!this.wait) this.error = error;
    else setTimeout(() => mine === this.#turn && this.#embed(), 1000 * this.wait);
  }
}
