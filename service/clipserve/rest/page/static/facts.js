// The times of the last requests: the round trip, and the stages in the service.
import { element } from "./dom.js";

// `kinds`: name of a kind of request -> how it is called. Returns {model(model), note(kind, answer of api.call)}.
export function factList(place, kinds) {
  const facts = new Map();

  function set(name, ...value) {
    facts.set(name, value);
    place.replaceChildren(...[...facts].map(([term, values]) => element("div", {}, element("dt", {}, term), element("dd", {}, ...values))));
  }

  return {
    model: (model) => set("Model", `${model.id} `, element("code", {}, model.fingerprint)),
    note(kind, { ms, timing, requestId }) {
      const stages = timing.map((each) => `${each.name} ${each.ms.toFixed(1)}`).join(", ");
      set(kinds[kind], `${ms.toFixed(0)} ms round trip${stages && `; in the service ${stages} ms`} `, element("code", {}, requestId));
    },
  };
}
