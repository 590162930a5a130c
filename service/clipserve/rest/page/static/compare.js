// The tab "compare labels": the cosine of each label and each other one, and which of them compete.
import { split } from "./classify_labels.js";
import { KINDS } from "./compare_copy.js";
import { competing, matrixTable, sentence } from "./compare_matrix.js";
import { copyBox } from "./copy.js";
import { element, errorBox } from "./dom.js";
import { factList } from "./facts.js";
import { prompts, wrongWith, written } from "./scoring.js";

const EXAMPLE = ["kitten", "cat", "tiger", "puppy", "dog", "wolf", "car", "truck", "bicycle"];

export function start(panel, shared) {
  const { api, announce } = shared;
  const at = (name) => panel.querySelector(`[data-place=${name}]`);
  const form = panel.querySelector("form");
  const { labels: field, template } = form.elements;
  const facts = factList(at("facts"), { similarity: "Last answer" });
  const copies = copyBox(at("copy"), { announce, kinds: KINDS });
  let turn = 0;
  let failure; // of the last comparison

  async function compare() {
    turn += 1;
    const mine = turn;
    const labels = [...new Set(split(field.value))];
    const wrong = whatIsWrong(labels, template.value.trim());
    if (wrong) {
      fail(new Error(wrong));
      return;
    }
    const texts = promptsOf(labels, template.value.trim());
    at("results").setAttribute("aria-busy", "true");
    try {
      const answer = await patiently(() => api.call("similarity", { json: request(texts) }), waiting, () => mine === turn);
      if (mine !== turn) return;
      facts.note("similarity", answer);
      show(labels, texts, answer.body);
    } catch (error) {
      if (mine === turn) fail(error, labels[error.index % labels.length]);
    }
    if (mine === turn) at("results").setAttribute("aria-busy", "false");
  }

  const request = (texts) => ({ texts, to_texts: texts, model: shared.model()?.id });

  function waiting(seconds) {
    at("problem").replaceChildren(element("p", { class: "notice" }, `The service is busy: this page tries again in ${seconds} s.`));
  }

  function show(labels, texts, body) {
    const cosines = body.results.map(({ cosine }) => cosine);
    const pairs = competing(labels, cosines);
    const said = sentence(pairs);
    failure = undefined;
    at("problem").replaceChildren();
    at("results").hidden = false;
    at("matrix").replaceChildren(
      element("h2", {}, "The most alike"),
      element("p", { class: "competing" }, said),
      matrixTable(labels, cosines, pairs),
      element("p", { class: "hint" }, `Cosines of the model ${body.model}, ${body.fingerprint}. The stronger a cell's colour, the more alike its two labels.`),
    );
    copies.show({ texts, model: body.model, base: new URL(".", document.baseURI).href.replace(/\/$/, ""), hasKey: api.hasKey() });
    announce(said);
  }

  function fail(error, label) {
    failure = error;
    at("problem").replaceChildren(errorBox(error, label ? `This concerns the label “${label}”.` : ""));
  }

  function counted() {
    const all = split(field.value);
    const labels = new Set(all);
    const twice = all.length - labels.size;
    at("count").textContent = `${labels.size === 1 ? "1 label" : `${labels.size} labels`}${twice ? `; ${twice} more than once, compared once` : ""}.`;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    compare();
  });
  field.addEventListener("input", counted);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) compare();
  });
  at("example").addEventListener("click", () => {
    field.value = EXAMPLE.join("\n");
    counted();
    compare();
  });
  shared.onModel((model) => {
    facts.model(model);
    const lackedKey = failure?.status === 401;
    if (lackedKey || !at("results").hidden) compare(); // another model has other numbers
  });
  counted();
}

function whatIsWrong(labels, template) {
  if (labels.length < 2) return "Type at least two different labels to compare.";
  return template ? wrongWith(template) : undefined;
}

function promptsOf(labels, template) {
  return template ? labels.map((label) => prompts(label, written([template]))[0]) : labels;
}

// Returns what `ask` does. Retries after each Retry-After while `wanted()`.
async function patiently(ask, onWait, wanted) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!error.retryAfter || !wanted()) throw error;
      onWait(error.retryAfter);
      await new Promise((resolve) => setTimeout(resolve, 1000 * error.retryAfter));
      if (!wanted()) throw error;
    }
  }
}
