// Computes what /classify does from vectors, so that no image is sent again for another label: prompts, the mean of a
// label's prompts, cosines, and scores by the model's scale and bias. tests/external/browser compares it with /classify.
import { cosine } from "./api.js";

export const SLOT = "{}";
const NAMED_SLOT = "{label}";

// Templates with every slot written as {}, without duplicates.
export function written(templates) {
  return [...new Set(templates.map((each) => each.split(NAMED_SLOT).join(SLOT)))];
}

// What is wrong with a template, or undefined. The API allows one slot or two.
export function wrongWith(template) {
  const slots = template.split(NAMED_SLOT).join(SLOT).split(SLOT).length - 1;
  return slots === 1 || slots === 2 ? undefined : `“${template}” needs one or two slots {} for the label; it has ${slots}.`;
}

export function prompts(label, templates) {
  return templates.map((template) => template.split(SLOT).join(label));
}

// The mean of vectors, of length 1.
export function ensemble(vectors) {
  const mean = new Float64Array(vectors[0].length);
  for (const vector of vectors) for (let at = 0; at < mean.length; at += 1) mean[at] += vector[at] / vectors.length;
  const length = Math.max(Math.hypot(...mean), 1e-12);
  return Float32Array.from(mean, (value) => value / length);
}

// Scores of one image: [{label, score, cosine, logit}], best first. `vectors`: of the labels, then of the background labels, which
// take part in the softmax and are not returned. Scores below the threshold are omitted.
export function scored(image, labels, vectors, { model, scoring, temperature, background = [], threshold = -Infinity }) {
  const rows = [...labels, ...background].map((label, at) => {
    const similarity = cosine(image, vectors[at]);
    return { label, cosine: similarity, logit: model.logit_scale * similarity + model.logit_bias };
  });
  const scores = scoresOf(rows, scoring || model.scoring, temperature || 1);
  const own = rows.slice(0, labels.length).map((row, at) => ({ ...row, score: scores[at] }));
  return own.filter(({ score }) => score >= threshold).sort((a, b) => b.logit - a.logit);
}

function scoresOf(rows, scoring, temperature) {
  if (scoring === "cosine") return rows.map((row) => row.cosine);
  const scaled = rows.map((row) => row.logit / temperature);
  if (scoring === "sigmoid") return scaled.map((value) => 0.5 * (1 + Math.tanh(0.5 * value)));
  const most = scaled.reduce((a, b) => Math.max(a, b), -Infinity);
  const raised = scaled.map((value) => Math.exp(value - most));
  const sum = raised.reduce((a, b) => a + b, 0);
  return raised.map((value) => value / sum);
}
