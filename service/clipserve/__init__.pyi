from clipserve.client.errors import ClipserveError
from clipserve.client.in_process import Clip
from clipserve.client.remote import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "Clip", "ClipserveError", "__version__"]
__version__: str
