// The tab "search": pictures sorted by their similarity to a sentence or to one of them.
import { copyBox } from "./copy.js";
import { element, errorBox } from "./dom.js";
import { factList } from "./facts.js";
import { picker } from "./pictures.js";
import { KINDS } from "./search_copy.js";
import { pictureGrid } from "./search_grid.js";
import { Index } from "./search_index.js";
import { counted, progressBox } from "./search_progress.js";
import { Question } from "./search_question.js";

const EXAMPLES = ["astronaut", "cat", "coffee", "rocket"]; // page/NAME.jpg; docs/page.md says whose they are
const EXAMPLE = "a cup of coffee";
const DRAWN_EVERY = 250; // ms, while pictures are embedded
const SPOKEN = 3; // pictures that a screen reader says

export function start(panel, shared) {
  const { api, announce } = shared;
  const at = (name) => panel.querySelector(`[data-place=${name}]`);
  const facts = factList(at("facts"), { pictures: "Last pictures", sentence: "Last sentence" });
  const copies = copyBox(at("copy"), { announce, kinds: KINDS });
  const index = new Index(api, {
    change: () => soon(),
    answer: (answer) => facts.note("pictures", answer),
    renewed: (from, to) => progress.notice(`The model has changed from ${from} to ${to}: all pictures are embedded again.`),
  });
  const question = new Question({
    api, index, model: shared.model, on: { change: () => draw(), answer: (answer) => facts.note("sentence", answer) },
  });
  const chosen = picker(at("pictures"), {
    folders: true, listed: false, announce,
    onChange: (all) => index.set(all),
    onOthers: (count) => progress.notice(`${count === 1 ? "1 file is not a picture and was" : `${count} files are not pictures and were`} left out.`),
    onRemove: (picture) => {
      grid.forget(picture);
      if (question.picture === picture) question.ask({});
    },
  });
  const grid = pictureGrid(at("found"), { onLike: likeThis, canLike: ({ id }) => Boolean(index.vectorOf(id)) });
  const heading = headingOf(at("heading"), { onClear: clearQuestion, onAgain: () => question.ask(question) });
  const progress = progressBox(at("progress"), {
    announce,
    onStop: () => index.stop(),
    onGoOn: () => index.goOn(),
    onClear: clearPictures,
    onLeaveOut: leaveOut,
  });
  const form = panel.querySelector("form");
  const sentence = form.elements.sentence;
  const soon = throttled(() => draw());
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
    at("copy").hidden = question.asksForNothing || !state.done;
    if (!question.asksForNothing) copies.show({ question, pictures: inOrder(chosen.all, state).map(({ picture }) => picture), base: base(), hasKey: api.hasKey() });
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
    chosen.clear();
    progress.notice("");
    at("pictures").querySelector("button").focus();
  }

  function leaveOut(failed) {
    failed.forEach(({ id }) => chosen.remove(id));
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
    facts.model(model);
    index.use(model);
    if (question.error?.status === 401) question.ask(question); // now there is a key
  });
  draw();
}

async function exampleFile(name) {
  const blob = await (await fetch(`page/${name}`)).blob();
  return new File([blob], name, { type: "image/jpeg" });
}

// The address of the service, which the page knows relative to itself.
function base() {
  return new URL(".", document.baseURI).href.replace(/\/$/, "");
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
    show({ text, picture, error, wait, vector, asksForNothing }, rows) {
      title.textContent = asksForNothing ? "Your pictures" : `Most like ${text ? `“${text}”` : picture.name}`;
      image.hidden = !picture;
      if (picture && image.src !== picture.url) image.src = picture.url;
      clear.hidden = asksForNothing;
      hint.textContent = hintOf({ asksForNothing, wait, error, vector, text }, rows);
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
  if (!vector) return "Waiting for the answer …";
  if (!rows.length) return text ? "Add pictures to search." : "Add more pictures to compare with.";
  const small = text ? " For a sentence it is low even if a picture fits: only the order counts." : "";
  return `${counted(rows.length)}, the most alike first. The number is the cosine of the two vectors.${small}`;
}

function spoken(question, rows) {
  const what = question.text ? `“${question.text}”` : question.picture.name;
  const first = rows.slice(0, SPOKEN).map(({ picture, score }) => `${picture.name}, ${score.toFixed(3)}`);
  return `${counted(rows.length)} in order. Most like ${what}: ${first.join("; ")}`;
}

// Calls `work` soon, and not more often than every DRAWN_EVERY.
function throttled(work) {
  let waiting;
  return () => {
    waiting ??= setTimeout(() => {
      waiting = undefined;
      work();
    }, DRAWN_EVERY);
  };
}
