// A set as the file that CLIPSERVE_LABEL_SETS_FOLDER reads, with its example photos beside it: a link for each.
import { element } from "./dom.js";

// `fields`: those of label_set_form.js. The links lead to what the page has in memory, until it is left.
export async function showFiles(place, name, fields) {
  const photos = [];
  const json = await fields.definition((file, label, at) => {
    const ending = file.type.startsWith("image/") ? file.type.slice(6).replace(/\W.*/, "") : "image";
    photos.push([`${name}-${label + 1}-${at + 1}.${ending}`, file]);
    return photos.at(-1)[0];
  });
  const files = [[`${name}.json`, new Blob([JSON.stringify(json, null, 2)], { type: "application/json" })], ...photos];
  const links = files.map(([called, file]) => element("li", {}, element("a", { href: URL.createObjectURL(file), download: called }, called)));
  place.replaceChildren(element("p", { class: "hint" }, "The set as it stands here, for the folder that CLIPSERVE_LABEL_SETS_FOLDER names:"), element("ul", { class: "files" }, ...links));
  place.querySelector("a").focus();
}
