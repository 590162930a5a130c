// Asks /classify once for each picture and each question, and keeps the answers.
const REQUESTS_AT_A_TIME = 2;
const TRIES = 6; // of a request that is refused as overloaded
const LONGEST_WAIT = 15; // seconds to wait for a retry

export const REFUSED = [400, 413, 415, 422]; // for what is in the request

// Returns {of(picture, asked), forget(picture)}. `of` gives {labels: [{label, score, cosine, logit}], labelSet: {name, version},
// warnings: [text]}, the last two if there are any. `asked`: {model, labels, named, labelSet, version, scoring, temperature, background,
// threshold}; `named` are templates, or names of template sets. `version`, of the label set, is not sent: another has other answers.
export function answers(api) {
  const known = new Map(); // of a picture and a question -> promise
  const inTurn = pool(REQUESTS_AT_A_TIME);

  async function ask(picture, asked) {
    const form = new FormData();
    for (const [name, value] of fields(asked)) form.append(name, value);
    form.append("image", picture.blob, picture.name);
    const { results, label_sets: sets, warnings } = (await api.call("classify", { form })).body;
    return { labels: results[0].labels, labelSet: sets?.[0], warnings };
  }

  return {
    of(picture, asked) {
      const key = JSON.stringify([picture.id, asked.model.fingerprint, asked.version, fields(asked)]);
      if (!known.has(key)) {
        const promise = inTurn(() => ask(picture, asked));
        known.set(key, promise);
        promise.catch((error) => REFUSED.includes(error.status) || known.delete(key)); // another failure may pass
      }
      return known.get(key);
    },
    forget(picture) {
      for (const key of known.keys()) if (key.startsWith(`[${picture.id},`)) known.delete(key);
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
