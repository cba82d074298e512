// graphql-request: node graphql-request.mjs URL TOKEN
import { ClientError, GraphQLClient, gql } from 'graphql-request';

const [url, token] = process.argv.slice(2);
const client = new GraphQLClient(url, { headers: { authorization: `Bearer ${token}` } });

const found = await client.request(gql`query ($name: String!) { team(name: $name) { title } }`, { name: 'press' });
let refused = null;
try {
  await client.request(gql`{ teams { nodes { id } } }`);
} catch (error) {
  refused = error instanceof ClientError ? error.response.errors[0].extensions.code : String(error);
}
console.log(JSON.stringify({ title: found.team.title, refused }));
