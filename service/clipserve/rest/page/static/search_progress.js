// The progress of the pictures, the reason of a pause, and the pictures that failed.
import { element, errorBox } from "./dom.js";

const SAID_AT_MOST = 100; // failures that are listed

// Returns {show(state of the index), notice(text)}.
export function progressBox(place, { onStop, onGoOn, onClear, onLeaveOut, announce }) {
  let before = { done: 0, left: 0, failed: [] };
  const text = element("p", { id: "search-progress", class: "grow" });
  const bar = element("progress", { "aria-labelledby": "search-progress" });
  const stop = element("button", { type: "button", onclick: onStop }, "Stop");
  const goOn = element("button", { type: "button", onclick: onGoOn }, "Go on");
  const clear = element("button", { type: "button", onclick: onClear }, "Remove all");
  const notice = element("p", { class: "notice", hidden: true });
  const problem = element("div", {});
  const failed = element("details", { class: "failed", hidden: true });
  const row = element("div", { class: "row" }, text, stop, goOn, clear);
  place.append(row, bar, notice, problem, failed);

  function show(state) {
    place.hidden = !state.total;
    const busy = state.left > 0;
    text.textContent = sentence(state);
    bar.hidden = !busy;
    bar.max = Math.max(1, state.total);
    bar.value = state.total - state.left;
    const halted = Boolean(state.problem) || (busy && state.stopped);
    keepFocus([stop, goOn], [!busy || halted, !halted]);
    if (state.problem !== before.problem) problem.replaceChildren(...(state.problem ? [errorBox(state.problem)] : []));
    if (state.failed.length !== before.failed.length) showFailed(state.failed);
    tell(state);
    before = state;
  }

  function showFailed(entries) {
    failed.hidden = !entries.length;
    const items = entries.slice(0, SAID_AT_MOST).map(({ picture, error }) =>
      element("li", {}, element("b", {}, picture.name), ` ${error.message}`, error.code && element("span", { class: "hint" }, ` (${error.code})`)),
    );
    failed.replaceChildren(
      element("summary", {}, `${counted(entries.length)} could not be embedded`),
      element("ul", {}, ...items),
      element("button", { type: "button", onclick: () => onLeaveOut(entries.map(({ picture }) => picture)) }, "Leave them out"),
    );
  }

  function tell(state) {
    if (state.left && !before.left) announce(`Embedding ${counted(state.left)}.`);
    if (!state.left && before.left && state.total) {
      announce(`${counted(state.done)} ready.${state.failed.length ? ` ${counted(state.failed.length)} could not be embedded.` : ""}`);
    }
  }

  return {
    show,
    notice(said) {
      notice.hidden = !said;
      notice.textContent = said;
    },
  };
}

export function counted(count) {
  return count === 1 ? "1 picture" : `${count} pictures`;
}

function sentence({ total, done, left, failed, stopped, problem, wait }) {
  if (!left) return `${counted(done)} ready${failed.length ? `, ${failed.length} not` : ""}.`;
  const so = `${total - left} of ${counted(total)} embedded.`;
  if (problem || stopped) return `${so} Stopped.`;
  return wait ? `${so} The service is busy: this page tries again in ${wait} s.` : so;
}

// One of two buttons is hidden: if it had the focus, the other one gets it.
function keepFocus(buttons, hidden) {
  const focused = buttons.findIndex((button) => button === document.activeElement);
  buttons.forEach((button, at) => (button.hidden = hidden[at]));
  if (focused >= 0 && hidden[focused] && !hidden[1 - focused]) buttons[1 - focused].focus();
}
