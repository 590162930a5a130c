// The last classification as a command: curl, Python and grpcurl. Each calls /classify once for all pictures.
import { element } from "./dom.js";

export const GRPC_PORT = 8081; // the default; the page cannot know another

export const sh = (text) => (/^[\w./:@=+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
const json = JSON.stringify; // JSON is Python too, except true, false and null, which are not used
export const list = (values) => `[${values.map((value) => json(value)).join(", ")}]`;
export const plain = (name) => name.replace(/[/\\\0]/g, "_");

// `request`: {pictures: [{name, example}], fields: [[name, value]] of /classify, base: address of the service, hasKey}.
export function curl({ pictures, fields, base, hasKey }) {
  const lines = ["curl"];
  if (hasKey) lines.push('-H "Authorization: Bearer $CLIPSERVE_KEY"');
  lines.push(...pictures.map(({ name }) => `-F ${sh(`image=@${quoted(plain(name))}`)}`));
  lines.push(...fields.map(([name, value]) => `--form-string ${sh(`${name}=${value}`)}`));
  lines.push(sh(`${base}/classify`));
  return fetched(pictures, base) + lines.join(" \\\n  ");
}

// The first lines of a program in Python.
export function client({ base, hasKey }) {
  return [
    "# pip install httpx",
    ...(hasKey ? ["import os", ""] : []),
    "import httpx",
    "",
    `clip = httpx.Client(base_url=${json(base)}, timeout=30)`,
    ...(hasKey ? ['clip.headers["Authorization"] = "Bearer " + os.environ["CLIPSERVE_KEY"]'] : []),
  ];
}

export function python({ pictures, fields, base, hasKey }) {
  const data = grouped(fields).map(([name, values]) => `    ${json(name)}: ${values.length > 1 ? list(values) : json(values[0])},`);
  return [
    ...client({ base, hasKey }),
    `names = ${list(pictures.map(({ name }) => plain(name)))}`,
    ...saved(pictures),
    'files = [("image", (name, open(name, "rb").read())) for name in names]',
    "data = {", ...data, "}",
    'answer = clip.post("/classify", files=files, data=data)',
    "answer.raise_for_status()",
    'for name, result in zip(names, answer.json()["results"]):',
    '    for each in result.get("labels", [result]):',
    "        print(name, each)",
  ].join("\n");
}

export function grpcurl({ pictures, fields, base, hasKey }) {
  const message = Object.fromEntries(grouped(fields).map(([name, values]) => member(name, values)));
  const rest = json(message).slice(1);
  const images = pictures.map(({ name }) => `"$(base64 < ${sh(plain(name))} | tr -d '\\n')"`).join(` '", "' `);
  const key = hasKey ? '-H "authorization: Bearer $CLIPSERVE_KEY" ' : "";
  return (
    fetched(pictures, base) +
    `printf %s '{"images": ["' ${images} ${sh(`"], ${rest}`)} |\n` +
    `  grpcurl -plaintext ${key}-d @ ${sh(`${new URL(base).hostname}:${GRPC_PORT}`)} clipserve.v1.Clip/Classify`
  );
}

const REPEATED = { labels: "labels", templates: "templates", background: "background", label_set: "label_sets" };
const NUMBERS = ["temperature", "threshold", "top_k"];

function member(name, values) {
  if (name in REPEATED) return [REPEATED[name], values];
  if (name === "scoring") return [name, `SCORING_${values[0].toUpperCase()}`];
  return [name, NUMBERS.includes(name) ? Number(values[0]) : values[0]];
}

function grouped(fields) {
  const names = [...new Set(fields.map(([name]) => name))];
  return names.map((name) => [name, fields.filter(([other]) => other === name).map(([, value]) => value)]);
}

const examples = (pictures) => pictures.filter(({ example }) => example).map(({ name }) => name);

// Lines that fetch the examples of this page, for a shell and for Python.
export const fetched = (pictures, base) => examples(pictures).map((name) => `curl -so ${name} ${sh(`${base}/page/${name}`)}\n`).join("");
export const saved = (pictures) => examples(pictures).map((name) => `open(${json(name)}, "wb").write(clip.get(${json(`/page/${name}`)}).content)`);

// curl reads commas and semicolons in a file's name, unless it is in double quotes.
export function quoted(name) {
  return /^[\w. -]+$/.test(name) ? name : `"${name.replace(/["\\]/g, "\\$&")}"`;
}

const KINDS = { curl, Python: python, gRPC: grpcurl };

// The box that shows the commands. `kinds`: language -> what makes a command of a request. Returns {show(request)}.
export function copyBox(place, { announce, kinds: makers = KINDS }) {
  let [kind] = Object.keys(makers);
  let request;
  const code = element("code");
  const copied = element("button", { type: "button", onclick: copy }, "Copy");
  const buttons = Object.keys(makers).map((name) => element("button", { type: "button", class: "kind", onclick: () => choose(name) }, name));
  const port = element("p", { class: "hint" }, `This command needs grpcurl. gRPC listens on port ${GRPC_PORT} unless CLIPSERVE_GRPC_PORT is set.`);
  const kinds = element("div", { class: "row", role: "group", "aria-label": "Language" }, ...buttons);
  place.append(
    element("div", { class: "row between" }, element("h2", {}, "The same from your code"), kinds),
    element("pre", { tabindex: "0", role: "region", "aria-label": "The command" }, code),
    element("div", { class: "row" }, copied, port),
  );

  function choose(name) {
    kind = name;
    draw();
  }

  function draw() {
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.textContent === kind)));
    code.textContent = request ? makers[kind](request) : "";
    port.hidden = kind !== "gRPC";
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

  draw();
  return {
    show(next) {
      request = next;
      draw();
    },
  };
}
