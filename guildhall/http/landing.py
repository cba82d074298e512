"""`/` until there is a web UI: what this is, and where to go."""

from litestar import MediaType, Response, get

from guildhall.http.graphiql_page import PAGE_HEADERS

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Guildhall</title>
<style>
:root { color-scheme: light dark; }
body { max-width: 40rem; margin: 12vh auto; padding: 0 1.5rem; font: 17px/1.6 system-ui, sans-serif; }
h1 { font-size: 2rem; margin-bottom: 0.2em; }
dt { font-weight: 600; margin-top: 0.8em; }
dd { margin: 0; }
code { font-size: 0.95em; }
</style>
</head>
<body>
<h1>Guildhall</h1>
<p>Models, the data and lessons behind them, and the compute that makes them, shared between teams.</p>
<p>This server is the API. There is no web interface yet; today people use GraphiQL, the Python client, or any
GraphQL client.</p>
<dl>
<dt><a href="/graphql">/graphql</a></dt><dd>the API; in a browser GraphiQL, which asks for a token</dd>
<dt><a href="/healthz">/healthz</a>, <a href="/readyz">/readyz</a></dt><dd>is it alive, can it work</dd>
<dt><a href="/metrics">/metrics</a></dt><dd>what it counts, for Prometheus</dd>
</dl>
<p>A token comes from <code>make demo</code>, or for the first administrator from
<code>python -m guildhall bootstrap</code>.</p>
</body>
</html>
"""


@get("/", include_in_schema=False, sync_to_thread=False)
def landing_route() -> Response[str]:
    """A small page that promises nothing that is not there."""
    return Response(_PAGE, media_type=MediaType.HTML, headers=dict(PAGE_HEADERS))
