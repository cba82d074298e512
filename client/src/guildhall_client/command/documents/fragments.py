"""What several documents have in common."""

PAGE_ROWS_MAX = 100
"""What one request asks for at most; longer lists are fetched page by page."""

ERRORS = "errors { code field message hint }"
PAGE = "pageInfo { hasNextPage endCursor }"
CALLER = """
  __typename
  ... on User { id name email }
  ... on ServiceAccount { id name team { name } }
  ... on Job { id name team { name } }
"""
RESOURCE = """
  __typename id
  ... on Dataset { name team { name } }
  ... on DatasetVersion { number dataset { name team { name } } }
  ... on ModelVersion { number model { name team { name } } }
"""
FILES = f"nodes {{ path sizeBytes sha256 url }} {PAGE}"
