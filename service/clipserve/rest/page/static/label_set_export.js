// A set as the file that CLIPSERVE_LABEL_SETS_FOLDER reads, with its example photos beside it: a link for each.
import { element } from "./dom.js";

// `fields`: those of label_set_form.js. The links work until the page is left: the files are in its memory.
export async function showFiles(place, name, fields) {
  const photos = [];
  const json = await fields.definition((file, label, at) => {
    const ending = file.type.startsWith("image/") ? file.type.slice(6).replace(/\W.*/, "") : "image";
    photos.push([`${name}-${label + 1}-${at + 1}.${ending}`, file]);
    return photos.at(-1)[0];
  });
  const files = [[`${name}.json`, new Blob([JSON.stringify(json, null, 2)], { type: "application/json" })], ...photos];
  const links = files.map(([called, file]) => element("li", {}, element("a", { href: URL.createObjectURL(file), download: called }, called)));
  place.replaceChildren(element("p", { class: "hint" }, "The set as shown here, as files for the folder CLIPSERVE_LABEL_SETS_FOLDER:"), element("ul", { class: "files" }, ...links));
  place.querySelector("a").focus();
}
