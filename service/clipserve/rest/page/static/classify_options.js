// How labels are scored: templates, scoring, temperature, background, threshold, how many are shown; and label sets in place of labels.
import { split } from "./classify_labels.js";
import { element } from "./dom.js";

const OWN = "own";
const SCORINGS = [
  ["", "as the model was trained"],
  ["softmax", "softmax: labels share 100 %"],
  ["sigmoid", "sigmoid: each label alone"],
  ["cosine", "cosine: the similarity itself"],
];

// Returns {values(model), load()}.
// `onLabelSet(name)`: a label set was chosen, or "" for own labels.
export function optionFields({ place, setPlace, api, onChange, onLabelSet }) {
  let templateSets = [];
  const templates = element("select", { id: "templates", onchange: templatesChosen });
  const own = element("textarea", { id: "own-templates", rows: 3, spellcheck: "false", "aria-label": "Own templates, one per line", hidden: true, onchange: changed });
  const shown = element("p", { class: "hint", id: "templates-shown" });
  const scoring = element("select", { id: "scoring", onchange: changed }, ...SCORINGS.map(([value, text]) => new Option(text, value)));
  const temperature = numberField("temperature", 1, { min: 0.001, max: 1000, step: "any" });
  const background = element("input", { id: "background", type: "text", autocomplete: "off", placeholder: "none", "aria-describedby": "background-hint", onchange: changed });
  const threshold = numberField("threshold", "", { min: -1, max: 1, step: "any", placeholder: "none" });
  const best = numberField("best", 10, { min: 1, max: 1000, step: 1 });
  const labelSet = element("select", { id: "label-set", onchange: setChosen });

  templates.setAttribute("aria-describedby", "templates-shown");
  place.append(
    field("templates", "Templates around each label", templates, own, shown),
    field("scoring", "Scoring", scoring),
    field("background", "Background labels", background,
      element("p", { class: "hint", id: "background-hint" }, "What else pictures may show, separated by commas. These labels take part in the softmax and are not listed.")),
    element("div", { class: "pair" }, field("temperature", "Temperature", temperature), field("threshold", "Threshold", threshold)),
    element("div", { class: "pair" }, field("best", "Show the best", best)),
  );
  setPlace.append(element("label", { class: "inline", for: "label-set" }, "From ", labelSet));
  setPlace.hidden = true;

  function numberField(id, value, bounds) {
    return element("input", { id, type: "number", value, inputmode: "decimal", ...bounds, onchange: changed });
  }

  function changed() {
    onChange();
  }

  const found = () => templateSets.find((each) => each.name === templates.value);

  function templatesChosen() {
    own.hidden = templates.value !== OWN;
    if (!own.hidden && !own.value) own.value = "a photo of a {}.";
    changed();
  }

  function setChosen() {
    const chosen = Boolean(labelSet.value);
    for (const each of [templates, own, background]) each.disabled = chosen;
    onLabelSet(labelSet.value);
  }

  const ownLines = () => own.value.split("\n").map((line) => line.trim()).filter(Boolean);
  const given = (input, otherwise) => (input.value ? Number(input.value) : otherwise);

  return {
    // What is chosen: {named, labelSet, scoring, temperature, background, threshold, best}; see classify_answers.js.
    values(model) {
      const named = templates.value === OWN ? ownLines() : [templates.value].filter(Boolean);
      const sentences = found()?.templates ?? model.prompt_templates;
      const more = sentences.length > 1 ? ` and ${sentences.length - 1} more` : "";
      shown.textContent = templates.value === OWN ? "One per line; {} stands for the label." : `“${sentences[0]}”${more}`;
      return {
        named,
        labelSet: labelSet.value,
        scoring: scoring.value,
        temperature: given(temperature, 1),
        background: [...new Set(split(background.value))],
        threshold: given(threshold, undefined),
        best: given(best, 10),
      };
    },
    // The template sets and label sets that the service has now.
    async load() {
      const [known, labelSets] = await Promise.all([api.call("template-sets"), api.call("label-sets")]);
      templateSets = known.body.template_sets;
      const keep = [templates.value, labelSet.value];
      templates.replaceChildren(
        new Option("the model's own", ""),
        ...templateSets.map((each) => new Option(each.templates.length > 1 ? `${each.name} (${each.templates.length})` : each.name, each.name)),
        new Option("own …", OWN),
      );
      const sets = labelSets.body.label_sets;
      labelSet.replaceChildren(
        new Option("own labels", ""),
        ...sets.map((each) => new Option(`label set ${each.name} (${each.label_count})`, each.name)),
      );
      setPlace.hidden = !sets.length;
      [templates.value, labelSet.value] = keep;
      for (const each of [templates, labelSet]) if (each.selectedIndex < 0) each.value = "";
    },
  };
}

function field(id, name, ...inputs) {
  return element("div", { class: "field" }, element("label", { for: id }, name), ...inputs);
}
