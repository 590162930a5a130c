// Labels as chips: typed with Enter or a comma, or pasted, one per line or separated by commas.
import { element } from "./dom.js";

// Returns {all, add(texts), set(texts)}; onChange(all) after each change. `name`: of the list, for a screen reader.
export function labelField(place, { id, name = "Labels", onChange, announce }) {
  let all = [];
  const list = element("ul", { class: "chips", "aria-label": name });
  const input = element("input", {
    id, type: "text", autocomplete: "off", placeholder: "another label", enterkeyhint: "done", "aria-describedby": `${id}-hint`,
    onkeydown: onKey, oninput: onInput, onpaste: onPaste, onblur: () => take(input.value),
  });
  place.append(list, input, element("p", { class: "hint", id: `${id}-hint` }, "Press Enter or type a comma after each label, or paste a list."));

  function changed() {
    list.replaceChildren(...all.map(chip));
    list.hidden = !all.length;
    onChange(all);
  }

  function chip(label) {
    const remove = element("button", { type: "button", "aria-label": `Remove ${label}`, onclick: () => drop(label) }, "✕");
    return element("li", { class: "chip" }, element("span", {}, label), remove);
  }

  function drop(label) {
    const at = all.indexOf(label);
    all = all.filter((each) => each !== label);
    announce(`${label} removed`);
    changed();
    (list.querySelectorAll("button")[Math.min(at, all.length - 1)] ?? input).focus();
  }

  function add(texts) {
    const fresh = texts.filter((text, at) => !all.includes(text) && texts.indexOf(text) === at);
    if (!fresh.length) return;
    all = [...all, ...fresh];
    announce(`${fresh.length > 3 ? `${fresh.length} labels` : fresh.join(", ")} added`);
    changed();
  }

  function take(text) {
    input.value = "";
    add(split(text));
  }

  function onKey(event) {
    if (event.isComposing) return;
    if (event.key === "Enter") {
      event.preventDefault();
      take(input.value);
    } else if (event.key === "Backspace" && !input.value && all.length) {
      drop(all.at(-1));
      input.focus();
    }
  }

  function onInput(event) {
    if (input.value.includes(",") && !event.isComposing) take(input.value); // phones send no key event for a comma
  }

  function onPaste(event) {
    const text = event.clipboardData.getData("text");
    if (split(text).length < 2) return;
    event.preventDefault();
    take(`${input.value}${text}`);
  }

  return {
    get all() {
      return all;
    },
    add,
    set(texts) {
      all = [...new Set(texts)];
      changed();
    },
  };
}

export function split(text) {
  return text.split(/[,\n\r\t]+/).map((each) => each.trim()).filter(Boolean);
}
