// The fields of a label set, and its definition for PUT.
import { labelField } from "./classify_labels.js";
import { labelRow } from "./label_set_row.js";

const NOT_SHOWN = ["truncate", "scoring", "temperature", "model"]; // kept as they were

// Returns {show(set, given), definition(), rows(), fail(error)}; see label_set_row.js for `given`.
export function setForm(at, { onChange, announce }) {
  let rows = [];
  let others = {}; // values of the chosen set that have no field
  const [threshold, weight, templates] = ["set-threshold", "set-weight", "set-templates"].map((id) => document.getElementById(id));
  const background = labelField(at("background"), { id: "set-background", name: "Background labels", announce, onChange });
  const adding = labelField(at("add"), { id: "set-add", announce, onChange: add });
  const rowOf = (label, given) => labelRow(label, given, { onChange, onRemove: drop, announce });
  const number = ({ value }) => (value ? Number(value) : undefined);

  function add(labels) {
    if (!labels.length) return;
    adding.set([]);
    const fresh = labels.filter((label) => !rows.some(({ name }) => name() === label)).map((label) => rowOf({ label }, new Map()));
    rows = [...rows, ...fresh];
    at("labels").append(...fresh.map(({ item }) => item));
    onChange();
  }

  function drop(row) {
    const position = rows.indexOf(row);
    rows = rows.filter((each) => each !== row);
    row.item.remove();
    announce(`${row.name()} removed`);
    onChange();
    (rows[Math.min(position, rows.length - 1)]?.item ?? at("add")).querySelector("input").focus();
  }

  return {
    rows: () => rows,
    show(set, given) {
      others = Object.fromEntries(NOT_SHOWN.map((name) => [name, set[name]]));
      rows = set.labels.map((label) => rowOf(label, given));
      at("labels").replaceChildren(...rows.map(({ item }) => item));
      background.set(set.background);
      templates.value = (set.templates ?? []).join("\n");
      threshold.value = set.threshold ?? "";
      weight.value = set.example_weight ?? "";
    },
    async definition() {
      const labels = rows.map(async (row) => ({ ...row.fields(), examples: await Promise.all(row.photos().map(dataUri)) }));
      const numbers = { threshold: number(threshold), example_weight: number(weight) };
      const sentences = templates.value.split("\n").map((line) => line.trim()).filter(Boolean);
      const given = sentences.length ? { templates: sentences } : {}; // without any, the model's own
      return { ...others, labels: await Promise.all(labels), background: background.all, ...given, ...numbers };
    },
    // Shows the error beside its label and returns true; false if it is not about a label. Without an error, clears the last one.
    fail(error) {
      const row = error && !error.message.startsWith("background") ? rows[error.index] : undefined;
      rows.forEach((each) => each.fail(each === row ? error : undefined));
      return Boolean(row);
    },
  };
}

const dataUri = (file) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(new Error(`${file.name} cannot be read any more: it was moved, changed or deleted after it was chosen.`));
  reader.readAsDataURL(file);
});
