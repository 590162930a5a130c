// Cosines of labels as a table of coloured cells, and what they say in a sentence.
import { element } from "./dom.js";

const NAMED_AT_MOST = 3; // pairs

export function number(value, digits = 2) {
  return value.toFixed(digits).replace("-", "\u2212");
}

// The most alike pairs, best first: [{a, b, cosine}]. The range of cosines differs between models, so a further pair is
// named if its cosine is in the upper quarter between the median pair's and the first's.
export function competing(labels, cosines) {
  const pairs = [];
  for (let a = 0; a < labels.length; a += 1) {
    for (let b = a + 1; b < labels.length; b += 1) pairs.push({ a: labels[a], b: labels[b], cosine: cosines[a][b] });
  }
  pairs.sort((one, other) => other.cosine - one.cosine);
  const highest = pairs[0].cosine;
  const middle = pairs[Math.floor(pairs.length / 2)].cosine;
  const enough = highest - (highest - middle) / 4;
  return pairs.slice(0, NAMED_AT_MOST).filter((pair, at) => at === 0 || pair.cosine >= enough);
}

export function sentence(pairs) {
  const [first, ...others] = pairs.map(({ a, b, cosine }) => [`“${a}” and “${b}”`, number(cosine)]);
  const also = others.map(([pair, cosine]) => `${pair} (${cosine})`).join(", ");
  return `${first[0]} are the most alike (${first[1]}): these two compete for the same pictures.${also && ` Nearly as alike: ${also}.`}`;
}

// `cosines`: of each label with each. `pairs`: those that are marked.
export function matrixTable(labels, cosines, pairs) {
  const others = cosines.flatMap((row, a) => row.filter((_, b) => a !== b));
  const [lowest, highest] = [Math.min(...others), Math.max(...others)];
  const share = (value) => (value - lowest) / (highest - lowest || 1);
  const marked = (a, b) => pairs.some((pair) => [pair.a, pair.b].includes(a) && [pair.a, pair.b].includes(b));
  const head = labels.map((label) => element("th", { scope: "col" }, element("span", {}, label)));
  const rows = labels.map((label, a) =>
    element("tr", {}, element("th", { scope: "row" }, label), ...labels.map((other, b) =>
      a === b ? same(cosines[a][b]) : cell(cosines[a][b], share(cosines[a][b]), marked(label, other)),
    )),
  );
  return element(
    "div",
    { class: "table", tabindex: "0", role: "region", "aria-label": "Cosine of each pair of labels" },
    element("table", { class: "heat" },
      element("caption", { class: "visually-hidden" }, "Cosine of each pair of labels"),
      element("thead", {}, element("tr", {}, element("td"), ...head)),
      element("tbody", {}, ...rows),
    ),
  );
}

function cell(cosine, share, marked) {
  const made = element("td", { class: marked ? "marked" : undefined }, value(cosine), marked && element("span", { class: "visually-hidden" }, " compete"));
  made.style.setProperty("--heat", `${Math.round(100 * share)}%`);
  return made;
}

// A label and itself: nothing to learn from.
function same(cosine) {
  return element("td", { class: "same" }, value(cosine));
}

function value(cosine) {
  return element("data", { value: String(cosine) }, number(cosine));
}
