"""The GraphQL documents that this package's own operations send."""

import hashlib


class Document(str):
    """A document of this distribution: it joins the servers' manifest in review, and is named there by its hash."""

    __slots__ = ()

    @property
    def trusted_id(self) -> str:
        """The name that a server of the same or a later version knows it by."""
        return "sha256:" + hashlib.sha256(self.encode()).hexdigest()


_UPLOADS = "uploads { path url method partSizeBytes headers { name value } }"
_ERRORS = "errors { code field message hint }"

CREATE_DATASET_VERSION = Document(f"""
mutation CreateDatasetVersion($input: CreateDatasetVersionInput!) {{
  createDatasetVersion(input: $input) {{ datasetVersion {{ id number state }} {_UPLOADS} {_ERRORS} }}
}}
""")

CREATE_MODEL_VERSION = Document(f"""
mutation CreateModelVersion($input: CreateModelVersionInput!) {{
  createModelVersion(input: $input) {{ modelVersion {{ id number status }} {_UPLOADS} {_ERRORS} }}
}}
""")

CREATE_PACKAGE = Document(f"""
mutation CreatePackage($input: CreatePackageInput!) {{
  createPackage(input: $input) {{ package {{ id sha256 }} {_UPLOADS} {_ERRORS} }}
}}
""")

COMPLETE_UPLOADS = Document(f"""
mutation CompleteUploads($input: CompleteUploadsInput!) {{
  completeUploads(input: $input) {{ owner {{ __typename id }} missing {{ path code message }} {_ERRORS} }}
}}
""")

JOB_CHANGES = Document("""
subscription JobChanges($id: ID!, $after: String) {
  jobChanges(id: $id, after: $after) {
    cursor state stateReason { code message } metric { name value split step } logLine { at stream text }
  }
}
""")

JOB = Document("""
query Job($id: ID!) {
  node(id: $id) {
    ... on Job {
      id name state stateReason { code message } predictedStart
      team { name } pool { name }
      charge { held captured released }
      attempts(first: 5) {
        nodes { number state exitCode exitReason { code message } runIntervals { startedAt endedAt } }
      }
      events(first: 50) { nodes { occurredAt code message } }
      logTail(lines: 20)
      outputs { modelVersion { id number } }
    }
  }
}
""")
