"""The routes that the application mounts; it puts an `ArtifactDesk` into its state under `STATE_KEY`."""

from litestar.handlers import HTTPRouteHandler

from registry.http.bundles import download_bundle_route, upload_bundle_route
from registry.http.downloads import download_route
from registry.http.previews import preview_route
from registry.http.uploads import upload_route

ROUTES: list[HTTPRouteHandler] = [
    download_bundle_route,
    download_route,
    preview_route,
    upload_bundle_route,
    upload_route,
]
