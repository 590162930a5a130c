// The files of a folder: chosen, or dropped.
const PICTURES = /\.(jpe?g|png|webp|gif|bmp|tiff?|avif|hei[cf])$/i;

export function onlyPictures(files) {
  return files.filter((file) => !file.name.startsWith(".") && (file.type.startsWith("image/") || PICTURES.test(file.name)));
}

// The dropped files, and the pictures below each dropped folder. Must be called while the event is handled.
export async function dropped(dataTransfer) {
  const entries = [...dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...dataTransfer.files];
  const files = await Promise.all(entries.filter((entry) => entry.isFile).map(fileOf));
  const within = [];
  for (const entry of entries) if (entry.isDirectory) await walk(entry, within);
  return [...files, ...onlyPictures(within)];
}

const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));

// readEntries returns the entries in parts, and an empty part at the end.
async function walk(folder, files) {
  const reader = folder.createReader();
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return;
    for (const entry of entries) {
      if (entry.isDirectory) await walk(entry, files);
      else files.push(await fileOf(entry));
    }
  }
}
