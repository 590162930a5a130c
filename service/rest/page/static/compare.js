// The tab "compare".
export function start(panel, shared) {
  void [panel, shared];
}
