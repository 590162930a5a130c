// The tab "label sets": make a named classifier, try it, and correct it. Example photos added here are only in this page's
// memory: the service returns nothing of them but their SHA-256.
import { element, errorBox } from "./dom.js";
import { setForm } from "./label_set_form.js";
import { tryBox } from "./label_set_try.js";

const ASKED_EVERY = 1000; // ms, while a set is built
const HINT = "A label has a name, and optionally prompts that describe it and example photos.";

export function start(panel, shared) {
  const { api, announce } = shared;
  const at = (name) => panel.querySelector(`[data-place=${name}]`);
  const [choice, name, without] = ["choice", "name", "without"].map((each) => panel.querySelector(`#set-${each}`));
  const given = new Map(); // SHA-256 -> photo
  let set; // the chosen one as the service last said; undefined: a new one
  let unsaved = false;
  let turn = 0; // answers for an earlier choice are ignored
  const fields = setForm(at, { onChange: edited, announce });
  const trying = tryBox(at, {
    api, announce,
    labels: () => fields.rows().map((row) => row.name()),
    onWrong: (picture, label) => fields.rows().find((row) => row.name() === label)?.add(picture.blob),
  });
  const path = (which) => `label-sets/${encodeURIComponent(which)}`;

  const still = (is) => (at("fields").inert = at("tried").inert = is); // a change made now would be lost

  // `work(wanted)` may fail; `wanted()`: whether this is still the chosen set.
  async function attempt(work) {
    turn += 1;
    const mine = turn;
    fail();
    still(true);
    const failed = await work(() => mine === turn).catch((error) => error);
    if (mine !== turn) return;
    still(false);
    if (failed) fail(failed);
    choice.value = set?.name ?? "";
  }

  async function list() {
    const found = (await api.call("label-sets")).body.label_sets;
    choice.replaceChildren(new Option("new set", ""), ...found.map((each) => new Option(each.name, each.name)));
    choice.value = set?.name ?? "";
    return found;
  }

  async function choose(wanted) {
    if (unsaved && !confirm("Your changes are not saved. Discard them?")) return;
    const found = choice.value ? (await api.call(path(choice.value))).body : undefined;
    if (!wanted()) return;
    show(found);
    report([]);
  }

  function show(next) {
    set = next;
    fields.show(set ?? { labels: [], background: [] }, given);
    without.checked = false;
    name.value = set?.name ?? "";
    name.readOnly = Boolean(set);
    at("delete").hidden = !set;
    at("about").textContent = set ? `Version ${set.version}, ${set.state}, of the model ${set.model}. ${set.error ?? ""}` : HINT;
    edited();
    unsaved = false;
    return trying.use(set);
  }

  function edited() {
    unsaved = true;
    const lacking = fields.rows().filter((row) => row.missing);
    at("lost").hidden = !lacking.length;
    without.required = Boolean(lacking.length);
    at("lacking").textContent = lacking.map((row) => `${row.name()} (${row.missing})`).join(", ");
  }

  function fail(error) {
    const beside = fields.fail(error);
    at("problem").replaceChildren(...(error && !beside ? [errorBox(error)] : []));
  }

  async function save(wanted) {
    if (!set && (await list()).some((each) => each.name === name.value)) {
      throw new Error(`There is a label set ${name.value} already: choose it above, or type another name.`);
    }
    const sent = fields.rows().map((row) => row.photos());
    const json = await fields.definition();
    json.model ??= shared.model()?.id;
    let { body } = await api.call(path(name.value), { method: "PUT", json });
    if (!wanted()) return;
    set = body;
    name.readOnly = true;
    set.labels.forEach(({ examples = [] }, label) => examples.forEach((sha, index) => given.set(sha, sent[label][index])));
    shared.reload(); // other tabs choose among the sets too
    while (body.state === "building") {
      at("about").textContent = `${body.prompts_done} of ${body.prompts} prompts are encoded. ${body.error ?? ""}`;
      await new Promise((resolve) => setTimeout(resolve, ASKED_EVERY));
      body = (await api.call(path(body.name))).body;
      if (!wanted()) return;
    }
    if (body.state === "failed") throw new Error(body.error);
    const moved = await show(body);
    report(moved);
    announce(`Saved. ${moved.join(" ")}`);
  }

  function report(sentences) {
    at("changes").hidden = !sentences.length;
    at("changes").replaceChildren(element("h2", {}, "What has changed"), element("ul", {}, ...sentences.map((each) => element("li", {}, each))));
  }

  async function remove() {
    if (!confirm(`Delete the label set ${set.name}, its examples and its embeddings?`)) return;
    await api.call(path(set.name), { method: "DELETE" });
    announce(`${set.name} deleted`);
    show(undefined);
    report([]);
    choice.focus();
    shared.reload();
  }

  const form = panel.querySelector("form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!at("fields").inert) attempt(save);
  });
  form.addEventListener("input", ({ target }) => [choice, without].includes(target) || edited());
  choice.addEventListener("change", () => attempt(choose));
  at("delete").addEventListener("click", () => attempt(remove));
  shared.onModel(() => list().catch(fail));
  show(undefined);
  for (const each of panel.children) each.hidden = false;
}
