// The results of the tab "classify": bars for one picture, a table for several.
import { element, errorBox } from "./dom.js";

const MINUS = "\u2212";

export function percent(score) {
  return `${(100 * score).toFixed(1)} %`;
}

export function number(value) {
  return value.toFixed(3).replace("-", MINUS);
}

// Returns {show(rows, asked), fail(error, retry), say(text, ...elements)}. `rows`: for each picture {picture, labels, labelSet},
// {picture, error}, or {picture} before its answer; `asked`: see classify_answers.js, and `best`.
export function resultBox(place) {
  const details = element("button", { type: "button", class: "kind", "aria-pressed": "false", hidden: true, onclick: toggle }, "Cosine and logit");
  const head = element("div", { class: "row between" }, element("h2", {}, "Result"), details);
  const note = element("p", { class: "hint" });
  const body = element("div", {});
  place.append(head, body, note);
  const bars = new Map(); // label -> its <li>, kept so that bars move instead of blinking
  const list = element("ol", { class: "bars" });

  function toggle() {
    const on = place.classList.toggle("detailed");
    details.setAttribute("aria-pressed", String(on));
  }

  function oneOf(row, text) {
    for (const [label, item] of bars) {
      if (!row.labels.some((each) => each.label === label)) {
        item.remove();
        bars.delete(label);
      }
    }
    for (const each of row.labels) {
      if (!bars.has(each.label)) bars.set(each.label, bar(each.label));
      fill(bars.get(each.label), each, text);
    }
    list.replaceChildren(...row.labels.map((each) => bars.get(each.label)));
    if (list.parentNode !== body) body.replaceChildren(list);
  }

  return {
    show(rows, asked) {
      const text = scoreText(asked);
      details.hidden = !rows.some((row) => row.labels);
      const cut = rows.map((row) => (row.labels ? { ...row, labels: row.labels.slice(0, asked.best) } : row));
      if (rows.length > 1) body.replaceChildren(table(cut, asked, text));
      else if (rows[0].error) body.replaceChildren(errorBox(rows[0].error));
      else if (rows[0].labels) oneOf(cut[0], text);
      note.textContent = notes(rows, asked).join(" ");
    },
    fail(error, retry) {
      const box = errorBox(error);
      if (retry) box.append(element("button", { type: "button", onclick: retry }, "Try again"));
      body.replaceChildren(box);
      details.hidden = true;
      note.textContent = "";
    },
    say(text, ...more) {
      body.replaceChildren(element("p", { class: "hint" }, text), ...more);
      details.hidden = true;
      note.textContent = "";
    },
  };
}

export function scoringOf(asked) {
  return asked.scoring || asked.model.scoring;
}

export function scoreText(asked) {
  return scoringOf(asked) === "cosine" ? number : percent;
}

function notes(rows, asked) {
  const done = rows.filter((row) => row.labels);
  const set = done[0]?.labelSet;
  const compared = asked.labels.length + asked.background.length;
  const most = Math.max(0, ...done.map((row) => row.labels.length));
  return [
    set && `Label set ${set.name}, version ${set.version}.`,
    ...(done[0]?.warnings ?? []),
    done.some((row) => !row.labels.length) && "No label reaches its threshold.",
    most > asked.best && `The best ${asked.best} of ${most} labels.`,
    compared === 1 && !asked.scoring && !set && asked.model.scoring === "softmax" && "A single label under softmax always has 100 %: add another.",
  ].filter(Boolean);
}

function bar(label) {
  return element(
    "li",
    {},
    element("span", { class: "label" }, label),
    element("data", { class: "score" }),
    element("span", { class: "bar", "aria-hidden": "true" }, element("span")),
    element("span", { class: "detail hint" }),
  );
}

function fill(item, each, text) {
  item.querySelector(".score").textContent = text(each.score);
  item.querySelector(".score").value = each.score;
  item.querySelector(".detail").textContent = `cosine ${number(each.cosine)}, logit ${number(each.logit)}`;
  item.querySelector(".bar > span").style.width = `${Math.max(0, Math.min(1, each.score)) * 100}%`;
}

function table(rows, asked, text) {
  const found = new Set(rows.flatMap((row) => (row.labels ?? []).map((each) => each.label)));
  const columns = asked.labelSet ? [...found] : asked.labels.filter((label) => found.has(label));
  return element(
    "div",
    { class: "table", tabindex: "0", role: "region", "aria-label": "Scores of each picture and label" },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Picture"), ...columns.map((label) => element("th", { scope: "col" }, label)))),
      element("tbody", {}, ...rows.map((row) => line(row, columns, text))),
    ),
  );
}

function line(row, columns, text) {
  const picture = element(
    "th",
    { scope: "row" },
    element("img", { src: row.picture.url, alt: "" }),
    element("span", { class: "name" }, row.picture.name),
  );
  if (row.error) return element("tr", {}, picture, element("td", { colspan: Math.max(1, columns.length) }, errorBox(row.error, null)));
  const byLabel = new Map((row.labels ?? []).map((each) => [each.label, each]));
  const best = row.labels?.[0]?.label;
  return element("tr", {}, picture, ...columns.map((label) => cell(byLabel.get(label), label === best, text)));
}

function cell(each, best, text) {
  if (!each) return element("td", {}, element("span", { class: "hint" }, "–"));
  const made = element(
    "td",
    { class: best ? "best" : undefined },
    element("data", { value: each.score }, text(each.score)),
    best && element("span", { class: "visually-hidden" }, " best"),
    element("span", { class: "bar", "aria-hidden": "true" }, element("span")),
    element("span", { class: "detail hint" }, `cos ${number(each.cosine)}`, element("br"), `logit ${number(each.logit)}`),
  );
  made.querySelector(".bar > span").style.width = `${Math.max(0, Math.min(1, each.score)) * 100}%`;
  return made;
}
