// Apollo Client with persisted queries: node apollo.mjs URL TOKEN
import { createHash } from 'node:crypto';
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';

const [uri, token] = process.argv.slice(2);
const requests = [];
const http = new HttpLink({
  uri,
  headers: { authorization: `Bearer ${token}` },
  fetch: async (address, options) => {
    const answer = await fetch(address, options);
    requests.push({ sentText: 'query' in JSON.parse(options.body), status: answer.status });
    return answer;
  },
});
const sha256 = (text) => createHash('sha256').update(text).digest('hex');
const client = new ApolloClient({
  link: ApolloLink.from([new PersistedQueryLink({ sha256 }), http]),
  cache: new InMemoryCache(),
});

const TEAMS = gql`
  query Teams($first: Int!, $after: String) {
    teams(first: $first, after: $after) {
      edges { cursor node { id name title } }
      pageInfo { hasNextPage endCursor }
    }
  }
`;
const first = await client.query({ query: TEAMS, variables: { first: 1 } });
const after = first.data.teams.pageInfo.endCursor;
const second = await client.query({ query: TEAMS, variables: { first: 1, after } });
let refused = null;
try {
  await client.query({ query: TEAMS, variables: { first: 100000 } });
} catch (error) {
  refused = CombinedGraphQLErrors.is(error) ? error.errors[0].extensions.code : String(error);
}
const cached = Object.keys(client.cache.extract()).filter((key) => key.startsWith('Team:')).length;
const names = [first, second].map((page) => page.data.teams.edges[0].node.name);
console.log(JSON.stringify({ names, cached, refused, requests }));
