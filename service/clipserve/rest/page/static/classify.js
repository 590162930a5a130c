// The tab "classify": which labels fit a picture. A picture is sent once; scoring.js computes scores from its vector.
import { answers, fields } from "./classify_answers.js";
import { labelField } from "./classify_labels.js";
import { optionFields } from "./classify_options.js";
import { resultBox, scoreText } from "./classify_results.js";
import { copyBox } from "./copy.js";
import { element } from "./dom.js";
import { factList } from "./facts.js";
import { picker } from "./pictures.js";

const EXAMPLE = { example: true, source: "An example: Chelsea, by Stefan van der Walt, CC0" };
const EXAMPLE_LABELS = ["cat", "dog", "rabbit", "car"];

export function start(panel, shared) {
  const { api, announce } = shared;
  const at = (name) => panel.querySelector(`[data-place=${name}]`);
  const facts = factList(at("facts"), KINDS);
  const ask = answers(api, facts.note);
  const results = resultBox(at("results"));
  const copies = copyBox(at("copy"), { announce });
  const pictures = picker(at("pictures"), { onChange: refresh, onRemove: ask.forget, announce });
  const labels = labelField(at("labels"), { id: "labels", onChange: refresh, announce });
  const options = optionFields({
    place: at("options"), setPlace: at("label-set"), api, onChange: refresh,
    onLabels: (names) => labels.set(names),
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
    facts.model(model);
    const asked = { model, labels: labels.all, ...options.values(model) };
    const usable = pictures.all.filter((each) => !each.error);
    const missing = whatIsMissing(usable, asked);
    busy(!missing);
    if (missing) {
      const example = element("button", { type: "button", onclick: () => addExample(pictures) }, "Use the example");
      results.say(missing, ...(pictures.all.length ? [] : [example]));
      return;
    }
    at("copy").hidden = false;
    copies.show(request(usable, asked));
    const rows = usable.map((picture) => ({ picture }));
    const draw = inFrames(() => mine === turn && results.show(rows, asked));
    try {
      await Promise.all(rows.map(async (row) => {
        Object.assign(row, await scoresOrError(row.picture, asked));
        draw.soon();
      }));
      draw.now();
      if (mine === turn) say(rows, asked);
    } catch (error) {
      draw.never();
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
      if (!error.ofLabels && [400, 413, 415, 422].includes(error.status)) return { error };
      throw error;
    }
  }

  function request(usable, asked) {
    const topK = (asked.labelSet ? Infinity : asked.labels.length) > asked.best ? asked.best : undefined;
    return {
      pictures: usable,
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
  if (asked.wrong) return asked.wrong;
  if (!pictures.length) return "Add a picture to see which labels fit it.";
  if (!asked.labelSet && !asked.labels.length) return "Add labels: what the picture may show.";
  return undefined;
}

// Draws at most once in a frame, and not after `never`.
function inFrames(draw) {
  let waits = false;
  let ended = false;
  return {
    soon() {
      if (!waits) requestAnimationFrame(() => { waits = false; if (!ended) draw(); });
      waits = true;
    },
    now: draw,
    never() {
      ended = true;
    },
  };
}

async function addExample(pictures) {
  const blob = await (await fetch("page/cat.jpg")).blob();
  if (pictures.all.length) return; // somebody was faster
  await pictures.add([new File([blob], "cat.jpg", { type: "image/jpeg" })], EXAMPLE);
}

const KINDS = { picture: "Last picture", labels: "Last labels", classify: "Last /classify" };
