// The tab "classify": which labels fit a picture.
import { answers, fields, REFUSED } from "./classify_answers.js";
import { labelField } from "./classify_labels.js";
import { optionFields } from "./classify_options.js";
import { resultBox, scoreText } from "./classify_results.js";
import { copyBox } from "./copy.js";
import { element } from "./dom.js";
import { picker } from "./pictures.js";

const EXAMPLE = { example: true, source: "An example: Chelsea, by Stefan van der Walt, CC0" };
const EXAMPLE_LABELS = ["cat", "dog", "rabbit", "car"];

export function start(panel, shared) {
  const { api, announce } = shared;
  const at = (name) => panel.querySelector(`[data-place=${name}]`);
  const ask = answers(api);
  const results = resultBox(at("results"));
  const copies = copyBox(at("copy"), { announce });
  const pictures = picker(at("pictures"), { onChange: refresh, onRemove: ask.forget, announce });
  const labels = labelField(at("labels"), { id: "labels", onChange: refresh, announce });
  const options = optionFields({
    place: at("options"), setPlace: at("label-set"), api, onChange: refresh,
    onLabelSet(name) {
      at("labels").hidden = Boolean(name);
      refresh();
    },
  });
  let turn = 0;

  async function refresh() {
    turn += 1;
    const mine = turn;
    const model = shared.model();
    if (!model) return;
    const asked = { model, labels: labels.all, ...options.values(model) };
    const missing = whatIsMissing(pictures.all, asked);
    busy(!missing);
    if (missing) {
      const example = element("button", { type: "button", onclick: () => addExample(pictures) }, "Use the example");
      results.say(missing, ...(pictures.all.length ? [] : [example]));
      return;
    }
    at("copy").hidden = false;
    copies.show(request(pictures.all, asked));
    const rows = pictures.all.map((picture) => ({ picture }));
    const draw = () => mine === turn && results.show(rows, asked);
    try {
      await Promise.all(rows.map(async (row) => {
        Object.assign(row, await scoresOrError(row.picture, asked));
        draw();
      }));
      if (mine === turn) say(rows, asked);
    } catch (error) {
      if (mine === turn) results.fail(error, shared.reload);
    }
    if (mine === turn) busy(false);
  }

  function busy(is) {
    at("results").setAttribute("aria-busy", String(is));
  }

  // The error of one picture is its result; that of the whole request is thrown.
  async function scoresOrError(picture, asked) {
    try {
      return await ask.of(picture, asked);
    } catch (error) {
      if (REFUSED.includes(error.status)) return { error };
      throw error;
    }
  }

  function request(chosen, asked) {
    const topK = (asked.labelSet ? Infinity : asked.labels.length) > asked.best ? asked.best : undefined;
    return {
      pictures: chosen,
      fields: fields({ ...asked, topK }),
      base: new URL(".", document.baseURI).href.replace(/\/$/, ""),
      hasKey: api.hasKey(),
    };
  }

  function say(rows, asked) {
    const text = scoreText(asked);
    const told = rows.slice(0, 3).map(({ picture, labels: found, error }) =>
      `${picture.name}: ${error?.message ?? (found.length ? `${found[0].label}, ${text(found[0].score)}` : "no label")}`,
    );
    announce(told.join(". "));
  }

  shared.onModel(async () => {
    try {
      await options.load();
    } catch (error) {
      results.fail(error, shared.reload);
      return;
    }
    refresh();
  });
  labels.set(EXAMPLE_LABELS);
  addExample(pictures);
}

function whatIsMissing(pictures, asked) {
  if (!pictures.length) return "Add a picture to see which labels fit it.";
  if (!asked.labelSet && !asked.labels.length) return "Add labels: what the picture may show.";
  return undefined;
}

async function addExample(pictures) {
  const blob = await (await fetch("page/cat.jpg")).blob();
  if (pictures.all.length) return; // somebody was faster
  await pictures.add([new File([blob], "cat.jpg", { type: "image/jpeg" })], EXAMPLE);
}
