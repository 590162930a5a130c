// Choosing pictures: dropped, pasted, chosen from files, taken by the camera of a phone.
//
//   const pictures = picker(element, {onChange, several, listed, folders, announce});
//   listed: false         the caller shows the pictures
//   folders: true         offers to choose a folder; a dropped one is always read. onOthers(n): n of its files are not
//                         pictures
//   pictures.all          of each: {id, name, blob, size, url, width, height, error}; `url` is for an <img>, `error` says
//                         why it cannot be sent, `width` is undefined until the browser knows it, if it ever does
//   await pictures.add(blobs, more)   `more`: properties that the new ones have too
//   pictures.remove(id), pictures.clear()
//   onChange(all)         after each change; onRemove(picture) before it, for each removed one
// A picture may have a `source`, which is shown. The first pictures of the user replace those added with {example: true}.
//   here: true            takes drops and pastes only on the picker itself; without it, anywhere except on another picker
// A hidden picker takes none, so that each tab may have pickers.
import { bytes, element } from "./dom.js";
import { dropped, onlyPictures } from "./folders.js";

// Named one by one: iPhones then turn HEIC into JPEG before they hand a picture over.
const ACCEPTED = "image/jpeg,image/png,image/webp,image/gif,image/bmp,image/tiff,image/avif";
const HEIC_BRANDS = ["heic", "heix", "hevc", "heim", "heis", "mif1", "msf1"];
const HEIC_ADVICE =
  "HEIC cannot be read here. Export it as JPEG; an iPhone takes JPEG with Settings, Camera, Formats, Most Compatible.";

let ids = 0;

export function picker(place, options) {
  const { onChange, onRemove = () => {}, onOthers = () => {}, several = true, listed = true, folders = false, here = false, announce = () => {} } = options;
  let all = [];
  const list = element("ul", { class: "thumbnails" });
  const input = element("input", { type: "file", accept: ACCEPTED, multiple: several, hidden: true, onchange: chosen });
  const camera = element("input", { type: "file", accept: "image/jpeg", capture: "environment", hidden: true, onchange: chosen });
  const folder = element("input", { type: "file", webkitdirectory: true, hidden: true, onchange: folderChosen });
  const zone = element(
    "div",
    { class: "drop" },
    element("div", { class: "row" },
      element("button", { type: "button", onclick: () => input.click() }, several ? "Choose pictures" : "Choose a picture"),
      folders && element("button", { type: "button", onclick: () => folder.click() }, "Choose a folder"),
      element("button", { type: "button", class: "camera", onclick: () => camera.click() }, "Take a photo"),
      element("span", { class: "hint" }, "or drop or paste them"),
    ),
    input, folder, camera, list,
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
    addFound(onlyPictures([...event.target.files]));
    event.target.value = "";
  }

  function addFound(found) {
    pictures.add(found.pictures);
    if (found.others) onOthers(found.others);
  }

  const pictures = {
    get all() {
      return all;
    },
    async add(blobs, more = {}) {
      const added = await Promise.all((several ? blobs : blobs.slice(0, 1)).map((blob) => picture(blob, more)));
      if (!added.length) return;
      const stay = all.filter((each) => several && (!each.example || more.example));
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
    clear() {
      all.forEach(forget);
      all = [];
      changed();
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
    dropped(event.dataTransfer).then(addFound);
  });
  return pictures;
}

function picturesAmong(data) {
  return [...(data?.files ?? [])].filter((file) => file.type.startsWith("image/") || !file.type);
}

async function picture(blob, more) {
  ids += 1;
  const made = { id: ids, name: blob.name || "pasted picture", blob, size: blob.size, url: URL.createObjectURL(blob), ...more };
  if (await isHeic(blob)) made.error = HEIC_ADVICE;
  else if (!blob.size) made.error = "The file is empty (0 bytes).";
  return made;
}

async function isHeic(blob) {
  const head = new TextDecoder("latin1").decode(await blob.slice(4, 12).arrayBuffer());
  if (head.startsWith("ftyp")) return HEIC_BRANDS.includes(head.slice(4));
  return /\.hei[cf]$/i.test(blob.name ?? "") && /^image\/hei[cf]/.test(blob.type);
}

function thumbnail(each, remove) {
  const size = element("span", { class: "hint" }, bytes(each.size));
  const image = element("img", { src: each.url, alt: "", decoding: "async" });
  image.addEventListener("load", () => {
    each.width = image.naturalWidth;
    each.height = image.naturalHeight;
    size.textContent = `${each.width} × ${each.height}, ${bytes(each.size)}`;
  });
  image.addEventListener("error", () => image.replaceWith(element("span", { class: "no-preview" }, "no preview")));
  return element(
    "li",
    {},
    image,
    element("span", { class: "about" }, element("span", { class: "name" }, each.name), size,
      each.source && element("span", { class: "hint" }, each.source),
      each.error && element("span", { class: "bad" }, each.error)),
    element("button", { type: "button", class: "quiet", "aria-label": `Remove ${each.name}`, onclick: remove }, "✕"),
  );
}
