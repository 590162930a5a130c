// The same comparison as a command: curl, Python and grpcurl.
import { GRPC_PORT, client, list, sh } from "./copy.js";

const json = JSON.stringify;

// `request`: {texts, model, base: address of the service, hasKey}
function curl({ texts, model, base, hasKey }) {
  return [
    "curl",
    ...(hasKey ? ['-H "Authorization: Bearer $CLIPSERVE_KEY"'] : []),
    "-H 'Content-Type: application/json'",
    `-d ${sh(json({ model, texts, to_texts: texts }))}`,
    sh(`${base}/similarity`),
  ].join(" \\\n  ");
}

function python({ texts, model, base, hasKey }) {
  return [
    ...client({ base, hasKey }),
    `labels = ${list(texts)}`,
    `answer = clip.post("/similarity", json={"model": ${json(model)}, "texts": labels, "to_texts": labels})`,
    "answer.raise_for_status()",
    'for label, result in zip(labels, answer.json()["results"]):',
    '    print(label, result["cosine"])',
  ].join("\n");
}

function grpcurl({ texts, model, base, hasKey }) {
  const key = hasKey ? '-H "authorization: Bearer $CLIPSERVE_KEY" ' : "";
  const message = sh(json({ model, texts, to_texts: texts }));
  return `grpcurl -plaintext ${key}-d ${message} \\\n  ${sh(`${new URL(base).hostname}:${GRPC_PORT}`)} clipserve.v1.Clip/Similarity`;
}

export const KINDS = { curl, Python: python, gRPC: grpcurl };
