"""What the routes beside GraphQL answer when there is no such address, or when a fault of ours got this far."""

import logging
from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from guildhall.http.identity import request_id

logger = logging.getLogger(__name__)

ErrorBody = dict[str, dict[str, str]]


def refuse(_request: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorBody]:
    """What Litestar itself refuses: no such address, another method."""
    status = HTTPStatus(error.status_code)
    told = status.phrase if error.detail in {"", status.phrase} else f"{status.phrase}: {error.detail}"
    body = {"error": {"code": status.name, "message": f"{told}."}}
    return Response(body, status_code=status, headers=error.headers)


def mask(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorBody]:
    """Anything unforeseen: the caller gets the id of the request, the log has the rest under it."""
    key = request_id(request.scope)
    logger.error("request %s failed", key, exc_info=error)
    message = f"Something went wrong on our side; it is in the log as {key}."
    return Response({"error": {"code": "INTERNAL_ERROR", "message": message}}, status_code=500)
