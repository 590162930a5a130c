// Choosing pictures: dropped, pasted, or chosen from files.
//
//   const pictures = picker(element, {onChange, listed, folders, announce});
//   listed: false         the caller shows the pictures
//   folders: true         offers to choose a folder; a dropped one is always read. Files that are no pictures are left out
//   pictures.all          of each: {id, name, blob, size, url}; `url` is for an <img>
//   pictures.add(blobs, more)   `more`: properties that the new ones have too
//   pictures.remove(id)
//   onChange(all)         after each change; onRemove(picture) before it, for each removed one
// A picture may have a `source`, which is shown. The first pictures of the user replace those added with {example: true}.
//   here: true            takes drops and pastes only on the picker itself; without it, anywhere except on another picker
// A hidden picker takes none, so that each tab may have pickers.
import { bytes, element } from "./dom.js";
import { dropped, onlyPictures } from "./folders.js";

// Named one by one: iPhones then turn HEIC into JPEG before they hand a picture over.
const ACCEPTED = "image/jpeg,image/png,image/webp,image/gif,image/bmp,image/tiff,image/avif";

let ids = 0;

export function picker(place, options) {
  const { onChange, onRemove = () => {}, listed = true, folders = false, here = false, announce = () => {} } = options;
  let all = [];
  const list = element("ul", { class: "thumbnails" });
  const input = element("input", { type: "file", accept: ACCEPTED, multiple: true, hidden: true, onchange: chosen });
  const folder = element("input", { type: "file", webkitdirectory: true, hidden: true, onchange: folderChosen });
  const zone = element(
    "div",
    { class: "drop" },
    element("div", { class: "row" },
      element("button", { type: "button", onclick: () => input.click() }, "Choose pictures"),
      folders && element("button", { type: "button", onclick: () => folder.click() }, "Choose a folder"),
      element("span", { class: "hint" }, "or drop or paste them"),
    ),
    input, folder, list,
  );
  place.append(zone);

  function forget(each) {
    URL.revokeObjectURL(each.url);
    onRemove(each);
  }

  function changed() {
    if (listed) list.replaceChildren(...all.map((each) => thumbnail(each, () => pictures.remove(each.id))));
    onChange(all);
  }

  function chosen(event) {
    pictures.add([...event.target.files]);
    event.target.value = ""; // so that the same file can be chosen again
  }

  function folderChosen(event) {
    pictures.add(onlyPictures([...event.target.files]));
    event.target.value = "";
  }

  const pictures = {
    get all() {
      return all;
    },
    add(blobs, more = {}) {
      const added = blobs.map((blob) => picture(blob, more));
      if (!added.length) return;
      const stay = all.filter((each) => !each.example || more.example);
      all.filter((each) => !stay.includes(each)).forEach(forget);
      all = [...stay, ...added];
      announce(`${added.length > 3 ? `${added.length} pictures` : added.map((each) => each.name).join(", ")} added`);
      changed();
    },
    remove(id) {
      const at = all.findIndex((each) => each.id === id);
      if (at < 0) return;
      const [gone] = all.slice(at, at + 1);
      const hadFocus = list.contains(document.activeElement);
      all = all.filter((each) => each.id !== id);
      forget(gone);
      announce(`${gone.name} removed`);
      changed();
      if (hadFocus) (list.querySelectorAll("button")[Math.min(at, all.length - 1)] ?? zone.querySelector("button")).focus();
    },
  };

  function takes({ target }) {
    const over = target.closest?.(".drop");
    return zone.offsetParent !== null && (over ? over === zone : !here);
  }

  document.addEventListener("paste", (event) => {
    const files = picturesAmong(event.clipboardData);
    const text = event.target.matches?.("input, textarea") && event.clipboardData.types.includes("text/plain");
    if (!takes(event) || !files.length || text) return; // office programs copy text as a picture too
    event.preventDefault();
    pictures.add(files);
  });
  document.addEventListener("dragover", (event) => {
    const taken = takes(event) && event.dataTransfer.types.includes("Files");
    zone.classList.toggle("over", taken);
    if (taken) event.preventDefault();
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) zone.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    zone.classList.remove("over");
    if (!takes(event) || !event.dataTransfer.files.length) return;
    event.preventDefault();
    dropped(event.dataTransfer).then((files) => pictures.add(files));
  });
  return pictures;
}

function picturesAmong(data) {
  return [...(data?.files ?? [])].filter((file) => file.type.startsWith("image/") || !file.type);
}

function picture(blob, more) {
  ids += 1;
  return { id: ids, name: blob.name || "pasted picture", blob, size: blob.size, url: URL.createObjectURL(blob), ...more };
}

function thumbnail(each, remove) {
  const size = element("span", { class: "hint" }, bytes(each.size));
  const image = element("img", { src: each.url, alt: "", decoding: "async" });
  image.addEventListener("load", () => {
    size.textContent = `${image.naturalWidth} × ${image.naturalHeight}, ${bytes(each.size)}`;
  });
  image.addEventListener("error", () => image.replaceWith(element("span", { class: "no-preview" }, "no preview")));
  return element(
    "li",
    {},
    image,
    element("span", { class: "about" }, element("span", { class: "name" }, each.name), size,
      each.source && element("span", { class: "hint" }, each.source)),
    element("button", { type: "button", class: "quiet", "aria-label": `Remove ${each.name}`, onclick: remove }, "✕"),
  );
}
