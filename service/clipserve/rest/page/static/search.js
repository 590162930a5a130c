// The tab "search": pictures sorted by their similarity to a sentence or to one of them.
import { element, errorBox } from "./dom.js";
import { picker } from "./pictures.js";
import { pictureGrid } from "./search_grid.js";
import { Index } from "./search_index.js";
import { counted, progressBox } from "./search_progress.js";
import { Question } from "./search_question.js";

const EXAMPLES = ["astronaut", "cat", "coffee", "rocket"]; // page/NAME.jpg; docs/tutorial.md says whose they are
const EXAMPLE = "a cup of coffee";
const SPOKEN = 3; // pictures that a screen reader says

export function start(panel, shared) {
  const { api, announce } = shared;
  const at = (name) => panel.querySelector(`[data-place=${name}]`);
  const index = new Index(api, () => soon());
  const question = new Question({ api, index, model: shared.model, change: () => draw() });
  const chosen = picker(at("pictures"), {
    folders: true, listed: false, announce,
    onChange: (all) => index.set(all),
    onRemove: (picture) => {
      grid.forget(picture);
      if (question.picture === picture) question.ask({});
    },
  });
  const grid = pictureGrid(at("found"), { onLike: likeThis, canLike: ({ id }) => Boolean(index.vectorOf(id)) });
  const heading = headingOf(at("heading"), { onClear: clearQuestion, onAgain: () => question.ask(question) });
  const progress = progressBox(at("progress"), {
    announce,
    onGoOn: () => index.goOn(),
    onClear: clearPictures,
  });
  const form = panel.querySelector("form");
  const sentence = form.elements.sentence;
  const soon = onceAFrame(() => draw());
  let told; // the question whose answer was announced

  function draw() {
    const { state } = index;
    progress.show(state);
    question.follow(state);
    const { vector } = question;
    const rows = vector ? index.ranked(vector, question.picture?.id) : inOrder(chosen.all, state);
    at("results").hidden = !state.total && question.asksForNothing;
    at("empty").hidden = !at("results").hidden;
    at("found").setAttribute("aria-busy", String(state.left > 0));
    heading.show(question, rows);
    grid.show(rows);
    if (vector && rows.length && !state.left && told !== vector) {
      told = vector;
      announce(spoken(question, rows));
    }
  }

  function likeThis(picture) {
    question.ask({ picture });
    heading.focus();
  }

  function clearQuestion() {
    sentence.value = "";
    question.ask({});
    sentence.focus();
  }

  function clearPictures() {
    chosen.all.forEach(({ id }) => chosen.remove(id));
    at("pictures").querySelector("button").focus();
  }

  async function tryExample() {
    const files = await Promise.all(EXAMPLES.map((name) => exampleFile(`${name}.jpg`)));
    if (!chosen.all.length) await chosen.add(files, { example: true });
    sentence.value = EXAMPLE;
    question.ask({ text: EXAMPLE });
    heading.focus();
  }

  at("example").addEventListener("click", tryExample);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = sentence.value.trim();
    if (text) question.ask({ text });
    else clearQuestion();
  });
  shared.onModel((model) => {
    index.use(model);
    if (question.error?.status === 401) question.ask(question); // now there is a key
  });
  draw();
}

async function exampleFile(name) {
  const blob = await (await fetch(`page/${name}`)).blob();
  return new File([blob], name, { type: "image/jpeg" });
}

// In the order in which they were chosen, without those that failed.
function inOrder(all, { failed }) {
  const bad = new Set(failed.map(({ picture }) => picture.id));
  return all.filter(({ id }) => !bad.has(id)).map((picture) => ({ picture }));
}

// The line above the pictures: what they are compared with.
function headingOf(place, { onClear, onAgain }) {
  const title = element("h2", { tabindex: "-1" });
  const clear = element("button", { type: "button", onclick: onClear }, "Clear");
  const again = element("button", { type: "button", onclick: onAgain }, "Try again");
  const hint = element("p", { class: "hint" });
  const image = element("img", { alt: "" });
  const problem = element("div", {});
  place.append(element("div", { class: "row" }, image, title, clear), hint, problem);

  return {
    show(question, rows) {
      const { text, picture, error, asksForNothing } = question;
      title.textContent = asksForNothing ? "Your pictures" : `Most like ${text ? `“${text}”` : picture.name}`;
      image.hidden = !picture;
      if (picture && image.src !== picture.url) image.src = picture.url;
      clear.hidden = asksForNothing;
      hint.textContent = hintOf(question, rows);
      problem.replaceChildren(...(error ? [errorBox(error), again] : []));
    },
    focus() {
      title.focus({ preventScroll: true });
      place.scrollIntoView({ block: "nearest" });
    },
  };
}

function hintOf({ asksForNothing, wait, error, vector, text }, rows) {
  if (asksForNothing) return "Type what you look for to sort them.";
  if (error) return "";
  if (wait) return `The service is busy: this page tries again in ${wait} s.`;
  if (!rows.length) return text ? "Add pictures to search." : "Add more pictures to compare with.";
  if (!vector) return "Waiting for the answer …";
  const small = text ? " For a sentence it is low even if a picture fits: only the order counts." : "";
  return `${counted(rows.length)}, the most alike first. The number is the cosine of the two vectors.${small}`;
}

function spoken(question, rows) {
  const what = question.text ? `“${question.text}”` : question.picture.name;
  const first = rows.slice(0, SPOKEN).map(({ picture, score }) => `${picture.name}, ${score.toFixed(3)}`);
  return `${counted(rows.length)} in order. Most like ${what}: ${first.join("; ")}`;
}

function onceAFrame(work) {
  let waiting;
  return () => (waiting ??= requestAnimationFrame(() => { waiting = undefined; work(); }));
}
