"""Makes the options of each package from the settings, with its own constants for the rest."""

from __future__ import annotations

from dataclasses import dataclass

from clipserve.access.gate import RateOptions
from clipserve.api.limits import RequestLimits
from clipserve.application.shared import MAX_BULK_REQUESTS
from clipserve.connections import ConnectionLimits, Proxies
from clipserve.rest.app import RestOptions
from clipserve.rest.body import BodyLimits
from clipserve.rpc.options import RpcOptions
from clipserve.settings import Settings
from clipserve.wiring.listening import hosts_of
from clipserve.wiring.use_cases import Limits

_LEAST_JSON_BYTES, _JSON_PART = 1_000_000, 20  # a twentieth of a body may be JSON besides its images


@dataclass(frozen=True)
class GatewayOptions:
    """The options of a gateway."""

    limits: Limits
    rates: RateOptions
    connections: ConnectionLimits
    rest: RestOptions
    rpc: RpcOptions
    max_bulk_requests: int = MAX_BULK_REQUESTS

    @classmethod
    def of(cls, settings: Settings) -> GatewayOptions:
        chosen, json_bytes = settings.options, _json_bytes(settings)
        body, hosts = chosen(BodyLimits), hosts_of(settings)
        rest = chosen(RestOptions, body=body, max_json_bytes=json_bytes, hosts=hosts)
        proxies, shares = Proxies(settings.trusted_proxies), settings.shares_address
        rpc = chosen(RpcOptions, max_json_bytes=json_bytes, shares_address=shares, proxies=proxies)
        return cls(Limits.of(settings), chosen(RateOptions), chosen(ConnectionLimits), rest, rpc)


def _json_bytes(settings: Settings) -> int:
    """A share of a body, and up to all of it for more texts than by default."""
    size, more = settings.max_body_bytes, settings.max_texts / RequestLimits.max_texts
    return max(_LEAST_JSON_BYTES, size // _JSON_PART, min(size, round(_LEAST_JSON_BYTES * more)))
