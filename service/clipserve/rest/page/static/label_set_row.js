// One label of a set: its name, its threshold, its prompts and its example photos.
import { element, errorBox } from "./dom.js";
import { picker } from "./pictures.js";

// `label`: as GET shows it. `given`: SHA-256 -> each photo that this page has. Returns {item, name(), photos(), missing, add(file),
// fields(), fail(error)}. `missing`: how many of its examples this page does not have.
export function labelRow({ label, id, threshold, prompts = [], examples = [] }, given, { onChange, onRemove, announce }) {
  const known = examples.map((sha) => given.get(sha)).filter(Boolean);
  const name = element("input", { type: "text", value: label, autocomplete: "off", oninput: named });
  const least = element("input", { type: "number", value: threshold, min: -1, max: 1, step: "any", inputmode: "decimal", placeholder: "set's" });
  const sentences = element("textarea", { rows: 1, placeholder: "from the templates" }, prompts.join("\n"));
  const remove = element("button", { type: "button", class: "quiet", onclick: () => onRemove(row) }, "✕");
  const problem = element("div", {});
  const place = element("div", {});
  const names = element("div", { class: "set-label" }, field("Label", name), field("Threshold", least), remove);
  const item = element("div", { role: "group", class: "stack" }, names, field("Prompts, one per line", sentences), place, problem);
  const pictures = picker(place, { here: true, onChange, announce: (text) => announce(`${name.value}: ${text}`) });

  function named() {
    item.setAttribute("aria-label", `Label ${name.value}`);
    remove.setAttribute("aria-label", `Remove label ${name.value}`);
  }

  const row = {
    item,
    missing: examples.length - known.length,
    name: () => name.value.trim(),
    photos: () => pictures.all.map(({ blob }) => blob),
    add: (file) => pictures.add(row.photos().includes(file) ? [] : [file]),
    fields() {
      const lines = sentences.value.split("\n").map((each) => each.trim()).filter(Boolean);
      return { label: row.name(), id, prompts: lines, threshold: least.value ? Number(least.value) : undefined };
    },
    fail(error) {
      problem.replaceChildren(...(error ? [errorBox(error)] : []));
      if (error) name.focus();
    },
  };
  named();
  pictures.add(known);
  return row;
}

const field = (name, input) => element("label", { class: "field" }, element("span", { class: "label" }, name), input);
