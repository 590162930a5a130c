// Custom resources against the schemas of their operators: node custom_resources.cjs TOOLS FILE
//
// FILE holds a JSON list of objects. What is wrong is printed, a line each, and the exit status is then 1. The schemas are
// code that reads the fields it knows: a field that it never reads is unknown, and an API server would refuse it.
const fs = require("node:fs");
const path = require("node:path");

const [tools, file] = process.argv.slice(2);
const SCHEMAS = {
  "gateway.networking.k8s.io/v1": ["gateway-api", "IoK8sSigsGatewayApiApisV1"],
  "keda.sh/v1alpha1": ["keda", "KedaShV1alpha1"],
  "monitoring.coreos.com/v1": ["prometheus-operator", "ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1"],
};
// What an operator knows and these schemas, the newest for Debian's Node, do not yet: KEDA 2.17.
const NEWER = ["ScaledObject: /spec/fallback/behavior"];

// A view of `value` that notes in `seen` which fields are read.
function watched(value, at, seen) {
  if (typeof value !== "object" || value === null) return value;
  return new Proxy(value, {
    get(target, key) {
      if (typeof key !== "string" || !Object.hasOwn(target, key)) return target[key];
      seen.add(`${at}/${key}`);
      return watched(target[key], `${at}/${key}`, seen);
    },
  });
}

function* fields(value, at) {
  if (typeof value !== "object" || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    yield `${at}/${key}`;
    yield* fields(inner, `${at}/${key}`);
  }
}

function wrong(object) {
  const [operator, prefix] = SCHEMAS[object.apiVersion] ?? [];
  if (!operator) return [`no schema for ${object.apiVersion}`];
  const folder = path.join(tools, "node_modules", "@kubernetes-models", operator, "_schemas");
  const { validate } = require(path.resolve(folder, `${prefix}${object.kind}.js`));
  const seen = new Set();
  if (!validate(watched(object, "", seen))) return validate.errors.map((each) => `${each.instancePath} ${each.keyword}`);
  return [...fields(object, "")].filter(
    (each) => !seen.has(each) && !each.startsWith("/metadata/") && !NEWER.includes(`${object.kind}: ${each}`),
  ).map((each) => `${each} is unknown`);
}

const found = JSON.parse(fs.readFileSync(file, "utf8")).flatMap((object) =>
  wrong(object).map((each) => `${object.kind}/${object.metadata.name}: ${each}`),
);
for (const line of found) console.log(line);
process.exitCode = found.length ? 1 : 0;
