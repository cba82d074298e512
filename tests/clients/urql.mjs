// urql's core: a query by GET, and a mutation that is refused: node urql.mjs URL TOKEN
import { Client, fetchExchange, gql } from '@urql/core';

const [url, token] = process.argv.slice(2);
const fetchOptions = { headers: { authorization: `Bearer ${token}` } };
const client = new Client({ url, exchanges: [fetchExchange], fetchOptions, preferGetMethod: true });

const team = await client.query(gql`query ($name: String!) { team(name: $name) { title } }`, { name: 'press' });
const revoked = await client.mutation(
  gql`mutation ($input: RevokeTokenInput!) { revokeToken(input: $input) { errors { code field } } }`,
  { input: { tokenId: 'nonsense' } },
);
const stranger = new Client({ url, exchanges: [fetchExchange], preferGetMethod: false });
const unknown = await stranger.query('{ viewer { permissions } }', {});
console.log(JSON.stringify({
  title: team.data.team.title,
  errors: revoked.data.revokeToken.errors,
  refused: unknown.error.graphQLErrors[0].extensions.code,
  status: unknown.error.response.status,
}));
