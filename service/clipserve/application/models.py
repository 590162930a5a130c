"""The served models."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from clipserve.api.label_sets import LabelSetFields
from clipserve.api.requests import Choice
from clipserve.application.served_model import ServedModel
from clipserve.errors import BackendUnavailable, UnknownModel, WrongFingerprint
from clipserve.telemetry.request import describe


class Models(dict[str, ServedModel]):
    """The served models by name. The first is the default. `aliases`: other names -> the names of these."""

    aliases: Mapping[str, str] = MappingProxyType({})

    def own_name(self, name: str) -> str:
        """The name of the model that an alias, or a repository of the hub, stands for; any other name as it is."""
        return self.aliases.get(name, name).replace("/", "--")

    def find(self, choice: Choice | LabelSetFields) -> ServedModel:
        """The model that a request is for.

        Raises:
            UnknownModel: no model of this name is served.
            BackendUnavailable: the model is still loading.
            WrongFingerprint: the model's fingerprint is not the expected one.
        """
        name = next(iter(self)) if choice.model is None else self.own_name(choice.model)
        model = self.get(name)
        if model is None:
            raise UnknownModel(
                f"no model {(choice.model or name)[:100]!r} is served. Served: {', '.join(self)}."
            )
        if not model.started:
            raise BackendUnavailable("the model is still loading. Try again when the service is ready.")
        expected = choice.expect_fingerprint
        if expected and expected != model.fingerprint:
            raise WrongFingerprint(
                f"the fingerprint of {model.name} is {model.fingerprint}, and {expected[:200]} is expected: "
                "vectors of the two cannot be compared. Embed your items again, or serve the former model."
            )
        describe(model=model.name)
        return model
