"use strict";
// Starts GraphiQL with a field for the token; the token stays in this tab and leaves it in the Authorization header only.
(function () {
  const TOKEN = "guildhall-token";
  const WELCOME = [
    "# Welcome to Guildhall. Paste your token above, then press the play button.",
    "# The documentation of every type is behind the book on the left.",
    "",
    "query Welcome {",
    "  viewer {",
    "    actor { __typename ... on User { name email } ... on ServiceAccount { name } }",
    "    memberships { team { name } roles }",
    "  }",
    "}",
    "",
  ].join("\n");
  const create = React.createElement;

  function fetcher(token) {
    return async function (parameters, options) {
      const given = (options && options.headers) || {};
      const headers = Object.assign(
        { "content-type": "application/json", accept: "application/graphql-response+json, application/json" },
        token ? { authorization: "Bearer " + token } : {},
        given
      );
      const answer = await fetch("/graphql", { method: "POST", headers: headers, body: JSON.stringify(parameters) });
      return answer.json();
    };
  }

  function Page() {
    const [token, setToken] = React.useState(sessionStorage.getItem(TOKEN) || "");
    const [typed, setTyped] = React.useState(token);
    function use(event) {
      event.preventDefault();
      sessionStorage.setItem(TOKEN, typed.trim());
      setToken(typed.trim());
    }
    const bar = create(
      "form",
      { className: "token", onSubmit: use },
      create("label", { htmlFor: "token" }, "Token"),
      create("input", {
        id: "token",
        type: "password",
        autoComplete: "off",
        spellCheck: false,
        placeholder: "ghu_… from `make demo` or `python -m guildhall bootstrap`",
        value: typed,
        onChange: function (event) { setTyped(event.target.value); },
      }),
      create("button", { type: "submit" }, token && token === typed.trim() ? "In use" : "Use")
    );
    // The same function while the token is the same, or GraphiQL would ask for the schema at every key that is pressed.
    const fetch_ = React.useMemo(function () { return fetcher(token); }, [token]);
    const editor = create(GraphiQL, {
      key: token,
      fetcher: fetch_,
      schema: token ? undefined : null, // nobody unknown may introspect: do not even ask
      defaultQuery: WELCOME,
      isHeadersEditorEnabled: true,
    });
    return create("div", { className: "page" }, bar, create("div", { className: "editor" }, editor));
  }

  ReactDOM.createRoot(document.getElementById("root")).render(create(Page));
})();
