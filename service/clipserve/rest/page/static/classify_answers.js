// The requests of the tab "classify", each sent once: the vector of a picture, the vectors of labels, and, where these are
// not enough, the scores of a picture from /classify.
import { ensemble, prompts, scored } from "./scoring.js";

const PROMPTS_AT_ONCE = 64; // texts of a request: less than a second of work, so that other requests get their turn
const PROMPTS_AT_MOST = 2560; // with more, sending the picture again is less than receiving vectors
const REQUESTS_AT_A_TIME = 2;
const TRIES = 6; // of a request that is refused as overloaded
const LONGEST_WAIT = 15; // seconds to wait for a retry

// onAnswer(what, answer): after each request, with what `api.call` gave.
export function answers(api, onAnswer) {
  const vectors = new Map(); // of pictures and labels -> promise
  const scores = new Map(); // of pictures by /classify -> promise
  const inTurn = pool(REQUESTS_AT_A_TIME);

  // A failure that may be temporary is not kept, so that the request is sent again.
  function once(map, key, ask) {
    if (!map.has(key)) {
      const promise = ask();
      map.set(key, promise);
      promise.catch((error) => {
        if (![400, 413, 415, 422].includes(error.status)) map.delete(key);
      });
    }
    return map.get(key);
  }

  const ofPicture = (picture, model) =>
    once(vectors, `${model.fingerprint} picture ${picture.id}`, () =>
      inTurn(async () => {
        const answer = await api.embed({ images: [picture.blob], model: model.id, fingerprint: model.fingerprint });
        onAnswer("picture", answer);
        return answer.images[0];
      }),
    );

  async function ofLabels(labels, templates, model) {
    const key = (label) => JSON.stringify([model.fingerprint, "label", templates, label]);
    const missing = labels.filter((label) => !vectors.has(key(label)));
    const some = Math.max(1, Math.floor(PROMPTS_AT_ONCE / templates.length)); // labels of a request
    for (let at = 0; at < missing.length; at += some) {
      const group = missing.slice(at, at + some);
      const asked = inTurn(() => encoded(group, templates, model));
      group.forEach((label, index) => {
        const each = asked.then((found) => found[index]);
        each.catch(() => vectors.delete(key(label)));
        vectors.set(key(label), each);
      });
    }
    return Promise.all(labels.map((label) => vectors.get(key(label))));
  }

  async function encoded(labels, templates, model) {
    try {
      const texts = labels.flatMap((label) => prompts(label, templates));
      const answer = await api.embed({ texts, model: model.id, fingerprint: model.fingerprint });
      onAnswer("labels", answer);
      return labels.map((_, at) => ensemble(answer.texts.slice(at * templates.length, (at + 1) * templates.length)));
    } catch (error) {
      error.ofLabels = true;
      error.label = labels[Math.floor(error.index / templates.length)];
      throw error;
    }
  }

  // {labels: [{label, score, cosine, logit}], labelSet: {name, version}, warnings: [text]}, the last two if there are any.
  const byService = (picture, asked) =>
    once(scores, JSON.stringify([picture.id, asked.model.fingerprint, fields(asked)]), () =>
      inTurn(async () => {
        const form = new FormData();
        for (const [name, value] of fields(asked)) form.append(name, value);
        form.append("image", picture.blob, picture.name);
        const answer = await api.call("classify", { form });
        onAnswer("classify", answer);
        const { results, label_sets: sets, warnings } = answer.body;
        return { labels: results[0].labels, labelSet: sets?.[0], warnings };
      }),
    );

  return {
    // The scores of a picture. `asked`: {model, labels, templates, named, labelSet, scoring, temperature, background, threshold};
    // `templates` are sentences, `named` the names or templates that the API gets.
    async of(picture, asked) {
      const compared = [...asked.labels, ...asked.background];
      if (asked.labelSet || compared.length * asked.templates.length > PROMPTS_AT_MOST) return byService(picture, asked);
      // Both at the same time. An error of the labels is the error of every picture.
      const [image, labels] = await Promise.all([
        ofPicture(picture, asked.model),
        ofLabels(compared, asked.templates, asked.model),
      ]);
      return { labels: scored(image, asked.labels, labels, asked) };
    },
    forget(picture) {
      for (const map of [vectors, scores]) {
        for (const key of map.keys()) {
          if (key.endsWith(` picture ${picture.id}`) || key.startsWith(`[${picture.id},`)) map.delete(key);
        }
      }
    },
  };
}

// The fields of a request to /classify, as [name, value] in their order, without those that have the default.
export function fields({ model, labels, named = [], labelSet, scoring, temperature, background = [], threshold, topK }) {
  const said = [["model", model.id]];
  if (labelSet) said.push(["label_set", labelSet]);
  else said.push(...[["labels", labels], ["templates", named], ["background", background]].flatMap(([name, values]) => values.map((value) => [name, value])));
  if (scoring) said.push(["scoring", scoring]);
  if (temperature && temperature !== 1) said.push(["temperature", String(temperature)]);
  if (threshold !== undefined) said.push(["threshold", String(threshold)]);
  if (topK) said.push(["top_k", String(topK)]);
  return said;
}

// Runs at most `places` functions at a time. One that waits for a retry keeps its place.
function pool(places) {
  const waiting = [];
  return async function inTurn(work) {
    if (places > 0) places -= 1;
    else await new Promise((resolve) => waiting.push(resolve));
    try {
      return await patiently(work);
    } finally {
      if (waiting.length) waiting.shift()();
      else places += 1;
    }
  };
}

async function patiently(work) {
  for (let left = TRIES - 1; ; left -= 1) {
    try {
      return await work();
    } catch (error) {
      if (error.status !== 429 || left === 0 || !(error.retryAfter <= LONGEST_WAIT)) throw error;
      await new Promise((resolve) => setTimeout(resolve, error.retryAfter * 1000));
    }
  }
}
