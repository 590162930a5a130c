// The last classification as a command: curl and Python. Each calls /classify once for all pictures.
import { element } from "./dom.js";

const sh = (text) => (/^[\w./:@=+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
const json = JSON.stringify; // JSON is Python too, except true, false and null, which are not used
const list = (values) => `[${values.map((value) => json(value)).join(", ")}]`;
const plain = (name) => name.replace(/[/\\\0]/g, "_");
const examples = (pictures) => pictures.filter(({ example }) => example).map(({ name }) => name);

// `request`: {pictures: [{name, example}], fields: [[name, value]] of /classify, base: address of the service, hasKey}.
function curl({ pictures, fields, base, hasKey }) {
  const lines = ["curl"];
  if (hasKey) lines.push('-H "Authorization: Bearer $CLIPSERVE_KEY"');
  lines.push(...pictures.map(({ name }) => `-F ${sh(`image=@${quoted(plain(name))}`)}`));
  lines.push(...fields.map(([name, value]) => `--form-string ${sh(`${name}=${value}`)}`));
  lines.push(sh(`${base}/classify`));
  return [...examples(pictures).map((name) => `curl -so ${name} ${sh(`${base}/page/${name}`)}`), lines.join(" \\\n  ")].join("\n");
}

// curl reads commas and semicolons in a file's name, unless it is in double quotes.
function quoted(name) {
  return /^[\w. -]+$/.test(name) ? name : `"${name.replace(/["\\]/g, "\\$&")}"`;
}

function python({ pictures, fields, base, hasKey }) {
  const names = [...new Set(fields.map(([name]) => name))];
  const data = names.map((name) => {
    const values = fields.filter(([other]) => other === name).map(([, value]) => value);
    return `    ${json(name)}: ${values.length > 1 ? list(values) : json(values[0])},`;
  });
  return [
    "# pip install httpx",
    ...(hasKey ? ["import os", ""] : []),
    "import httpx",
    "",
    `clip = httpx.Client(base_url=${json(base)}, timeout=30)`,
    ...(hasKey ? ['clip.headers["Authorization"] = "Bearer " + os.environ["CLIPSERVE_KEY"]'] : []),
    `names = ${list(pictures.map(({ name }) => plain(name)))}`,
    ...examples(pictures).map((name) => `open(${json(name)}, "wb").write(clip.get(${json(`/page/${name}`)}).content)`),
    'files = [("image", (name, open(name, "rb").read())) for name in names]',
    "data = {", ...data, "}",
    'answer = clip.post("/classify", files=files, data=data)',
    "answer.raise_for_status()",
    'for name, result in zip(names, answer.json()["results"]):',
    '    for each in result.get("labels", [result]):',
    "        print(name, each)",
  ].join("\n");
}

const KINDS = { curl, Python: python };

// The box that shows the commands. Returns {show(request)}.
export function copyBox(place, { announce }) {
  let [kind] = Object.keys(KINDS);
  let request;
  const code = element("code");
  const copied = element("button", { type: "button", onclick: copy }, "Copy");
  const buttons = Object.keys(KINDS).map((name) => element("button", { type: "button", class: "kind", onclick: () => draw(name) }, name));
  const kinds = element("div", { class: "row", role: "group", "aria-label": "Language" }, ...buttons);
  place.append(
    element("div", { class: "row between" }, element("h2", {}, "The same from your code"), kinds),
    element("pre", { tabindex: "0", role: "region", "aria-label": "The command" }, code),
    element("div", { class: "row" }, copied),
  );

  function draw(name) {
    kind = name;
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.textContent === kind)));
    code.textContent = KINDS[kind](request);
  }

  async function copy() {
    let done = "Copied";
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code); // no access to the clipboard, as on http: it can be copied by hand
      done = "Selected: copy it with the keyboard";
    }
    copied.textContent = done;
    announce(done);
    setTimeout(() => (copied.textContent = "Copy"), 2000);
  }

  return {
    show(next) {
      request = next;
      draw(kind);
    },
  };
}
