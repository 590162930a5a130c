// The pictures in their order, as a grid.
import { element } from "./dom.js";

const SHOWN = 60; // at first, and more at a time

// Returns {show(rows)}. `rows`: [{picture, score}], without scores while there is no question. onLike(picture): search for
// pictures like it; `canLike(picture)`: whether it has a vector.
export function pictureGrid(place, { onLike, canLike }) {
  let rows = [];
  let shown = SHOWN;
  const cards = new Map(); // id -> {item, img...}, kept so that pictures are not loaded again
  const list = element("ol", { class: "grid" });
  const more = element("button", { type: "button", onclick: showMore }, "Show more");
  place.append(list, more);

  function cardOf(picture) {
    if (!cards.has(picture.id)) cards.set(picture.id, card(picture, onLike));
    return cards.get(picture.id);
  }

  function draw() {
    const visible = rows.slice(0, shown);
    const highest = Math.max(...visible.map(({ score }) => score ?? 0));
    const lowest = Math.min(0, ...visible.map(({ score }) => score ?? 0));
    const items = visible.map((row) => {
      const made = cardOf(row.picture);
      made.like.hidden = !canLike(row.picture);
      made.tell(row.score, (row.score - lowest) / (highest - lowest || 1));
      return made.item;
    });
    arrange(items);
    more.hidden = rows.length <= shown;
    more.textContent = `Show more (${rows.length - visible.length})`;
  }

  // Keeps the focus on its element, although that moves in the document.
  function arrange(items) {
    if (items.length === list.children.length && items.every((item, at) => item === list.children[at])) return;
    const focused = list.contains(document.activeElement) ? document.activeElement : undefined;
    list.replaceChildren(...items);
    if (focused?.isConnected) focused.focus({ preventScroll: true });
  }

  function showMore() {
    const next = rows[shown];
    shown += SHOWN;
    draw();
    if (next) cardOf(next.picture).like.focus();
  }

  return {
    show(found) {
      rows = found;
      draw();
    },
    forget(picture) {
      cards.delete(picture.id);
    },
  };
}

function card(picture, onLike) {
  const image = element("img", { src: picture.url, alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(element("span", { class: "no-preview" }, "no preview")));
  const score = element("data", { class: "score" });
  const bar = element("span", {});
  const bars = element("span", { class: "bar", "aria-hidden": "true" }, bar);
  const label = { type: "button", class: "quiet", "aria-label": `More like this: ${picture.name}` };
  const like = element("button", { ...label, onclick: () => onLike(picture) }, "More like this");
  const about = element("div", { class: "about" }, element("span", { class: "name", title: picture.name }, picture.name), score);
  return {
    item: element("li", {}, image, bars, about, like),
    like,
    tell(value, share) {
      score.hidden = bars.hidden = value === undefined;
      if (value === undefined) return;
      score.value = String(value);
      score.textContent = value.toFixed(3).replace("-", "\u2212");
      bar.style.width = `${100 * Math.max(0, share)}%`;
    },
  };
}
