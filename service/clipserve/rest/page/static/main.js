// The page: its tabs, the choice of the model and the key.
//
// To add a tab: a link with role="tab" and a section with role="tabpanel" in index.html, a module that exports
// `start(panel, shared)`, and a line in STARTS. `start` is called once, when the tab is first shown: `panel` is the
// section. `shared` is
//   api       the module api.js, which makes every call to the service
//   model()   the chosen model as GET /v1/models describes it, or undefined before the first answer
//   onModel(then)   calls then(model) now, if there is a model, and whenever it changes
//   reload()  gets the models again, and calls onModel's functions again
//   announce(text)  makes a screen reader say it
// dom.js makes elements and shows errors; pictures.js chooses pictures.
import * as api from "./api.js";
import * as classify from "./classify.js";
import { element, errorBox } from "./dom.js";
import * as search from "./search.js";

// Large, and seldom the first tab: fetched when it is shown.
const labelSets = (panel, shared) =>
  import("./label_sets.js").then(({ start }) => start(panel, shared)).catch((error) => panel.append(errorBox(error)));
const STARTS = { classify: classify.start, search: search.start, "label-sets": labelSets };
const started = new Set();
const byId = (id) => document.getElementById(id);

// --- the chosen model -------------------------------------------------------------------------------------------
let models = [];
const followers = new Set();
const model = () => models.find((each) => each.id === byId("model").value) ?? models[0];

async function reload() {
  byId("problem").replaceChildren();
  const chosen = byId("model").value;
  try {
    models = (await api.call("v1/models")).body.data;
  } catch (error) {
    if (error.status === 401) return; // the key's form says it
    const again = element("button", { type: "button", onclick: reload }, "Try again");
    byId("problem").replaceChildren(errorBox(error), again);
    return;
  }
  byId("model").replaceChildren(...models.map((each) => new Option(each.id, each.id)));
  if (models.some((each) => each.id === chosen)) byId("model").value = chosen;
  byId("model-choice").hidden = models.length < 2;
  for (const then of followers) then(model());
}

const shared = {
  api,
  model,
  reload,
  onModel(then) {
    followers.add(then);
    if (model()) then(model());
  },
  announce(text) {
    byId("announcer").textContent = text;
  },
};

// --- tabs -------------------------------------------------------------------------------------------------------
const tabs = [...document.querySelectorAll("[role=tab]")];

function show(name) {
  for (const tab of tabs) {
    const chosen = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (!started.has(name)) {
    started.add(name);
    STARTS[name](byId(name), shared);
  }
}

// By hand, because following a link to a fragment scrolls there and takes the focus away.
function go(event, tab) {
  event.preventDefault();
  history.pushState(null, "", tab.getAttribute("href"));
  show(named());
  tab.focus();
}

const named = () => (location.hash.slice(1) in STARTS ? location.hash.slice(1) : "classify");

function onTabKey(event) {
  const at = tabs.indexOf(event.currentTarget);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (to === undefined) return;
  go(event, tabs[(to + tabs.length) % tabs.length]);
}

// --- start ------------------------------------------------------------------------------------------------------
byId("model").addEventListener("change", () => followers.forEach((then) => then(model())));
api.events.addEventListener("unauthenticated", ({ detail }) => {
  byId("key-form").hidden = false;
  byId("key-problem").textContent = api.hasKey() ? detail.message : "";
  byId("key").focus();
});
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  api.setKey(byId("key").value.trim());
  byId("key-form").hidden = true;
  reload();
});
for (const tab of tabs) {
  tab.addEventListener("click", (event) => go(event, tab));
  tab.addEventListener("keydown", onTabKey);
}
addEventListener("popstate", () => show(named())); // back, forward, and a fragment that is typed
show(named());
reload();
