// A grid of pictures that the chosen set classifies, with a way to correct each label.
import { answers } from "./classify_answers.js";
import { scoreText } from "./classify_results.js";
import { element } from "./dom.js";
import { picker } from "./pictures.js";

// Returns {use(set)}, which returns a sentence for each picture whose label has changed. `labels()`: the choices for the right
// label, none if the set cannot be changed. onWrong(picture, label): `label` is the right one.
export function tryBox(at, { api, announce, labels, onWrong }) {
  let set;
  const ask = answers(api);
  const pictures = picker(at("pictures"), {
    listed: false, announce, onChange: refresh, onRemove: (picture) => ask.forget(picture),
  });

  // What a picture is taken for: {label, text}; without a label, why it has none.
  async function taken(picture, { name, served_version: version, model, fingerprint, scoring }) {
    if (!version) return { text: "The set is not built." };
    const asked = { model: { id: model, fingerprint }, labels: [], background: [], labelSet: name, version };
    try {
      const [best] = (await ask.of(picture, asked)).labels;
      return best ? { label: best.label, text: `${best.label}, ${scoreText({ scoring, model: {} })(best.score)}` } : { label: "none", text: "none" };
    } catch (error) {
      return { text: error.message };
    }
  }

  async function refresh() {
    const asked = set;
    const shown = pictures.all.map((picture) => (picture.card ??= pictureCard(picture, { labels, onWrong, onRemove: remove })));
    at("tried").replaceChildren(...shown.map(({ item }) => item));
    if (!asked) return [];
    at("tried").setAttribute("aria-busy", "true");
    const moved = await Promise.all(shown.map(async (card) => {
      const found = await taken(card.picture, asked);
      return asked === set && card.tell(found);
    }));
    if (asked !== set) return [];
    at("tried").setAttribute("aria-busy", "false");
    if (shown.length) announce(shown.slice(0, 3).map(({ picture, said }) => `${picture.name}: ${said.textContent}`).join(". "));
    return moved.filter(Boolean);
  }

  function remove(picture) {
    pictures.remove(picture.id);
    at("pictures").querySelector("button").focus();
  }

  return {
    use(next) {
      if (set?.name !== next?.name) pictures.all.forEach((picture) => delete picture.card);
      set = next;
      return refresh();
    },
  };
}

function pictureCard(picture, { labels, onWrong, onRemove }) {
  let before; // what it was taken for
  const image = element("img", { src: picture.url, alt: "", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(element("span", { class: "no-preview" }, "no preview")));
  const said = element("p", { class: "said" }, "Save the set first.");
  const note = element("p", { class: "hint" });
  const right = element("select", { "aria-label": `Right label of ${picture.name}` });
  const summary = element("summary", { "aria-label": `Wrong: ${picture.name}` }, "Wrong");
  const wrong = element("details", { class: "wrong", ontoggle: offer }, summary, right, element("button", { type: "button", onclick: add }, "Add to its examples"));
  const remove = element("button", { type: "button", class: "quiet", "aria-label": `Remove ${picture.name}`, onclick: () => onRemove(picture) }, "✕");
  const name = element("span", { class: "name", title: picture.name }, picture.name);
  const item = element("li", {}, image, element("div", { class: "about" }, name, remove), said, note, wrong);

  function offer() {
    if (wrong.open) right.replaceChildren(...labels().filter((label) => label !== before).map((label) => new Option(label, label)));
  }

  async function add() {
    await onWrong(picture, right.value);
    note.textContent = `Now an example of ${right.value}: save the set.`;
    wrong.open = false;
    summary.focus();
  }

  return {
    item, picture, said,
    // Returns a sentence if it has another label now.
    tell({ label, text }) {
      const from = before;
      before = label ?? before;
      said.textContent = text;
      wrong.hidden = !labels().length;
      note.textContent = "";
      return from && label && from !== label && `${picture.name}: ${from} → ${label}.`;
    },
  };
}
