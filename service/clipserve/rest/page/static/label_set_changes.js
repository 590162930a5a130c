// What a new version of a set changes, and how well its examples are classified, in sentences.
import { percent } from "./classify_results.js";

const OF_LABEL = ["prompts", "examples", "threshold"];
const OF_SET = ["background", "templates", "threshold", "example_weight", "scoring", "temperature"];

export function changes(before, after) {
  if (!before) return [`${after.name} was created: ${after.labels.map(({ label }) => label).join(", ")}.`];
  if (before.version === after.version) return ["Nothing has changed."];
  const [old, now] = [before, after].map((set) => new Map(set.labels.map((each) => [each.label, each])));
  const ofLabels = [...now].map(([label, is]) => (old.has(label) ? differing(`Label ${label}`, old.get(label), is, OF_LABEL) : `Label added: ${label}.`));
  const removed = [...old.keys()].filter((label) => !now.has(label)).map((label) => `Label removed: ${label}.`);
  return [...ofLabels, ...removed, differing("The set", before, after, OF_SET)].filter(Boolean);
}

function differing(what, before, after, names) {
  const short = (value) => (Array.isArray(value) ? value.length : (value ?? "none"));
  const found = names.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name])).map((name) => {
    const [was, is] = [before[name], after[name]].map(short);
    return `${name.replace("_", " ")} ${was === is ? "changed" : `${was} → ${is}`}`;
  });
  return found.length && `${what}: ${found.join(", ")}.`;
}

// Leave-one-out, and the warnings of the service.
export function judged({ loo, warnings = [] }) {
  const wrong = loo?.misread.map(({ label, example, taken_for: other }) => `Example ${example + 1} of ${label} is taken for ${other}.`) ?? [];
  const said = loo && `Leave-one-out: ${percent(loo.accuracy)} of ${loo.examples} examples get their own label, each from a classifier without it.`;
  return [said, ...wrong, ...warnings].filter(Boolean);
}
