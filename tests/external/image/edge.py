"""The certificate of the edge."""

from __future__ import annotations

from tests.external.image.engine import ROOT, Engine

CERTIFICATE = ROOT / "deploy/edge/private/certificate.pem"


def certificate(engine: Engine) -> None:
    """Make one as the documents say, where there is none."""
    if not CERTIFICATE.exists():
        engine.run(ROOT / "deploy/edge/certificate.sh")
