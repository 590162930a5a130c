// The files of a folder: chosen, or dropped.
const PICTURES = /\.(jpe?g|png|webp|gif|bmp|tiff?|avif|hei[cf])$/i;

// Splits the files of a folder: the pictures, and the number of other files.
export function onlyPictures(files) {
  const pictures = files.filter((file) => !file.name.startsWith(".") && (file.type.startsWith("image/") || PICTURES.test(file.name)));
  return { pictures, others: files.length - pictures.length };
}

// The dropped files, and the pictures below each dropped folder. Must be called while the event is handled.
export async function dropped(dataTransfer) {
  const entries = [...dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return { pictures: [...dataTransfer.files], others: 0 };
  const files = await Promise.all(entries.filter((entry) => entry.isFile).map(fileOf));
  const within = [];
  for (const entry of entries) if (entry.isDirectory) await walk(entry, within);
  const { pictures, others } = onlyPictures(within);
  return { pictures: [...files, ...pictures], others };
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
