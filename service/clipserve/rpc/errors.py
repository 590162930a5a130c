"""Errors as gRPC statuses: one table, and a status with details (google.rpc)."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.any import pack
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from clipserve import errors
from clipserve.application.shared import known
from clipserve.errors import ClipError

DOMAIN = "clipserve"

# The most specific class decides. Over a limit is INVALID_ARGUMENT, because no retry can succeed; but for a message
# of too many bytes, which is RESOURCE_EXHAUSTED as in gRPC itself.
STATUS: dict[type[ClipError], StatusCode] = {
    errors.InvalidInput: StatusCode.INVALID_ARGUMENT,
    errors.BodyTooLarge: StatusCode.RESOURCE_EXHAUSTED,
    errors.BodyTooSlow: StatusCode.DEADLINE_EXCEEDED,
    errors.UnknownModel: StatusCode.NOT_FOUND,
    errors.UnknownTemplateSet: StatusCode.NOT_FOUND,
    errors.UnknownLabelSet: StatusCode.NOT_FOUND,
    errors.LabelSetNotReady: StatusCode.UNAVAILABLE,
    errors.LabelSetFailed: StatusCode.FAILED_PRECONDITION,
    errors.StoreUnavailable: StatusCode.UNAVAILABLE,
    errors.WrongFingerprint: StatusCode.FAILED_PRECONDITION,
    errors.Unauthenticated: StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: StatusCode.PERMISSION_DENIED,
    errors.TooManyConnections: StatusCode.UNAVAILABLE,
    errors.Overloaded: StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: StatusCode.DEADLINE_EXCEEDED,
    errors.BackendUnavailable: StatusCode.UNAVAILABLE,
    errors.BackendFailed: StatusCode.INTERNAL,
}


@dataclass(frozen=True)
class Failure:
    """A failed call. `word`: for metrics and logs. `details`: a google.rpc.Status for `grpc-status-details-bin`."""

    word: str
    code: StatusCode
    message: str
    details: bytes


def failure_of(error: Exception, request_id: str) -> Failure:
    """The status that answers an error."""
    error = known(error)
    code = status_of(type(error))
    status = status_pb2.Status(code=code.value[0], message=error.detail, details=_details(error, request_id))
    return Failure(error.code, code, error.detail, status.SerializeToString())


def status_of(kind: type[ClipError]) -> StatusCode:
    """The status of the nearest ancestor in STATUS."""
    return errors.of_nearest(kind, STATUS, StatusCode.INTERNAL)


def _details(error: ClipError, request_id: str) -> list[any_pb2.Any]:
    metadata = {"code": error.code} | {name: str(figure) for name, figure in error.figures.items()}
    # The reason is the code in the format of google.rpc.
    info = error_details_pb2.ErrorInfo(reason=error.code.upper(), domain=DOMAIN, metadata=metadata)
    details: list[Message] = [info, error_details_pb2.RequestInfo(request_id=request_id)]
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(error.retry_after * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return [pack(detail) for detail in details]
