// Makes elements. Text is always set as text: nothing from a user or from the service is parsed as HTML.

// element("button", {class: "chip", type: "button", onclick: go}, "Remove", otherElement)
// A key that begins with "on" is a listener; false, null and undefined are left out.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false || value === null) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== null && child !== false));
  return made;
}

// An error for people: the sentence of the API, its code, and the request id if there is one.
export function errorBox(error, role = "alert") {
  const about = [error.code, error.requestId && `request ${error.requestId}`].filter(Boolean).join(", ");
  return element(
    "div",
    { class: "error", role },
    element("p", {}, error.message),
    about && element("p", { class: "hint" }, about),
  );
}

export function bytes(count) {
  if (count < 1000) return `${count} bytes`;
  return count < 1_000_000 ? `${Math.round(count / 1000)} kB` : `${(count / 1_000_000).toFixed(1)} MB`;
}
