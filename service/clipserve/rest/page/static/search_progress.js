// The progress of the pictures, the reason of a pause, and the pictures that failed.
import { element, errorBox } from "./dom.js";

const SAID_AT_MOST = 100; // failures that are listed

// Returns {show(state of the index)}.
export function progressBox(place, { onGoOn, onClear, announce }) {
  let before = { done: 0, left: 0, failed: [] };
  const text = element("p", { id: "search-progress", class: "grow" });
  const bar = element("progress", { "aria-labelledby": "search-progress" });
  const goOn = element("button", { type: "button", onclick: onGoOn }, "Go on");
  const clear = element("button", { type: "button", onclick: onClear }, "Remove all");
  const problem = element("div", {});
  const failed = element("details", { class: "failed", hidden: true });
  place.append(element("div", { class: "row" }, text, goOn, clear), bar, problem, failed);

  function showFailed(entries) {
    failed.hidden = !entries.length;
    const items = entries.slice(0, SAID_AT_MOST).map(({ picture, error }) =>
      element("li", {}, element("b", {}, picture.name), ` ${error.message}`, error.code && element("span", { class: "hint" }, ` (${error.code})`)),
    );
    failed.replaceChildren(
      element("summary", {}, `${counted(entries.length)} could not be embedded`),
      element("ul", {}, ...items),
    );
  }

  return {
    show(state) {
      place.hidden = !state.total;
      text.textContent = sentence(state);
      bar.hidden = !state.left;
      bar.max = Math.max(1, state.total);
      bar.value = state.total - state.left;
      goOn.hidden = !state.problem;
      if (state.problem !== before.problem) problem.replaceChildren(...(state.problem ? [errorBox(state.problem)] : []));
      if (state.failed.length !== before.failed.length) showFailed(state.failed);
      if (state.left && !before.left) announce(`Embedding ${counted(state.left)}.`);
      if (!state.left && before.left && state.total) announce(sentence(state));
      before = state;
    },
  };
}

export function counted(count) {
  return count === 1 ? "1 picture" : `${count} pictures`;
}

function sentence({ total, done, left, failed, problem, wait }) {
  if (!left) return `${counted(done)} ready${failed.length ? `, ${failed.length} not` : ""}.`;
  const so = `${total - left} of ${counted(total)} embedded.`;
  if (problem) return `${so} Stopped.`;
  return wait ? `${so} The service is busy: this page tries again in ${wait} s.` : so;
}
