// The same search as a command: curl for the pictures of one request, Python for any number.
import { fetched, list, plain, quoted, saved, sh } from "./copy.js";

const IMAGES_AT_MOST = 32; // of a request, by default
const json = JSON.stringify;

// `request`: {question: {text} or {picture}, pictures: [{name, example}], base: address of the service, hasKey}
function curl({ question, pictures, base, hasKey }) {
  const others = pictures.filter((each) => each !== question.picture);
  const some = others.slice(0, IMAGES_AT_MOST - (question.picture ? 1 : 0));
  const left = others.length - some.length;
  return fetched(pictures, base) + [
    ...(left ? [`# A request takes at most ${IMAGES_AT_MOST} images: ${left} are left out. The Python program has all.`] : []),
    [
      "curl",
      ...(hasKey ? ['-H "Authorization: Bearer $CLIPSERVE_KEY"'] : []),
      ...some.map(({ name }) => `-F ${sh(`image=@${quoted(plain(name))}`)}`),
      question.text
        ? `--form-string ${sh(`to_texts=${question.text}`)}`
        : `-F ${sh(`to_images=@${quoted(plain(question.picture.name))}`)}`,
      sh(`${base}/similarity`),
    ].join(" \\\n  "),
  ].join("\n");
}

function python({ question, pictures, base, hasKey }) {
  const names = pictures.filter((each) => each !== question.picture).map(({ name }) => plain(name));
  const wanted = question.text ? `json={"texts": [${json(question.text)}], **FORMAT}` : `**file(${json(plain(question.picture.name))})`;
  return [
    "# pip install httpx numpy",
    "import base64",
    ...(hasKey ? ["import os"] : []),
    "",
    "import httpx",
    "import numpy as np",
    "",
    `clip = httpx.Client(base_url=${json(base)}, timeout=30)`,
    ...(hasKey ? ['clip.headers["Authorization"] = "Bearer " + os.environ["CLIPSERVE_KEY"]'] : []),
    ...saved(pictures),
    'FORMAT = {"encoding_format": "base64"}',
    "",
    "def file(name):",
    '    return {"files": {"image": (name, open(name, "rb").read())}, "data": FORMAT}',
    "",
    "def vector(**request):",
    '    answer = clip.post("/embed", **request)',
    "    answer.raise_for_status()",
    '    return np.frombuffer(base64.b64decode(answer.json()["results"][0]["embedding"]), "<f4")',
    "",
    `wanted = vector(${wanted})`,
    `names = ${list(names)}`,
    "scores = np.stack([vector(**file(name)) for name in names]) @ wanted",
    "for at in np.argsort(-scores):",
    '    print(f"{scores[at]:.3f} {names[at]}")',
  ].join("\n");
}

export const KINDS = { Python: python, curl };
