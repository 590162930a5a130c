// The tab "classify": which labels fit a picture.
export function start(panel, shared) {
  void [panel, shared];
}
