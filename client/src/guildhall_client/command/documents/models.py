"""Models, their versions, and lessons."""

from guildhall_client.command.documents.fragments import ERRORS, FILES, PAGE
from guildhall_client.documents import Document

FIND_MODELS = Document(f"""
query FindModels($text: String!, $first: Int!, $after: String) {{
  searchModels(text: $text, first: $first, after: $after) {{
    count {{ value exact }}
    edges {{
      highlights {{ field text }}
      node {{
        id name task description team {{ name }} lessons(first: 1) {{ nodes {{ summary }} }} adoptions {{ totalCount }}
      }}
    }}
    {PAGE}
  }}
}}
""")

SHOW_MODEL = Document("""
query ShowModel($team: String!, $name: String!) {
  model(team: $team, name: $name) {
    id name task description riskTier visibility tags createdAt
    team { name }
    dataNeeds { features { name type unit required } labelDefinition rowsMin }
    aliases { name version { number } protected }
    versions(first: 10, orderBy: {field: NUMBER, direction: DESC}) {
      totalCount
      nodes {
        id number status statusReason { code message } createdAt
        card { completeness missing }
        metrics { name value split }
        producedBy { id }
      }
    }
    lessons(first: 5) { nodes { id summary outcome dontUseWhen createdAt } }
    adoptions(first: 10) { totalCount nodes { team { name } version { number } since } }
  }
}
""")

MODEL_VERSIONS = Document(f"""
query ModelVersions($team: String!, $name: String!, $first: Int!, $after: String) {{
  model(team: $team, name: $name) {{
    id aliases {{ name version {{ id number }} }}
    versions(first: $first, after: $after, orderBy: {{field: NUMBER, direction: DESC}}) {{
      nodes {{ id number status }}
      {PAGE}
    }}
  }}
}}
""")

MODEL_FILES = Document(f"""
query ModelFiles($id: ID!, $first: Int!, $after: String) {{
  node(id: $id) {{ ... on ModelVersion {{
    number model {{ name team {{ name }} }} files: artifacts(first: $first, after: $after) {{ {FILES} }}
  }} }}
}}
""")

REGISTER_MODEL = Document(f"""
mutation RegisterModel($input: RegisterModelInput!) {{
  registerModel(input: $input) {{ model {{ id name team {{ name }} }} {ERRORS} }}
}}
""")

UPDATE_CARD = Document(f"""
mutation UpdateCard($input: UpdateCardInput!) {{
  updateCard(input: $input) {{ card {{ completeness missing }} {ERRORS} }}
}}
""")

PUBLISH_MODEL_VERSION = Document(f"""
mutation PublishModelVersion($input: PublishModelVersionInput!) {{
  publishModelVersion(input: $input) {{
    modelVersion {{ id number status statusReason {{ code message }} }} {ERRORS}
  }}
}}
""")

SET_ALIAS = Document(f"""
mutation SetAlias($input: SetAliasInput!) {{
  setAlias(input: $input) {{ alias {{ name version {{ id number }} protected }} {ERRORS} }}
}}
""")

RECORD_LESSON = Document(f"""
mutation RecordLesson($input: RecordLessonInput!) {{
  recordLesson(input: $input) {{ lesson {{ id summary outcome }} {ERRORS} }}
}}
""")
