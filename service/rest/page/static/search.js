// The tab "search".
export function start(panel, shared) {
  void [panel, shared];
}
