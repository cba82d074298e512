// graphql-ws: a query, a subscription that is resumed by its cursor, and a stranger: node graphql-ws.mjs URL TOKEN
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [url, token] = process.argv.slice(2);
const connect = (connectionParams) => createClient({
  url: url.replace('http', 'ws'), webSocketImpl: WebSocket, connectionParams, lazyCloseTimeout: 0, retryAttempts: 0,
});
const CHANGES = `subscription ($team: String!, $after: String) {
  walletChanges(team: $team, after: $after) { cursor wallet { available } }
}`;
const client = connect({ authorization: `Bearer ${token}` });

async function first(query, variables) {
  for await (const answer of client.iterate({ query, variables })) return answer;
}

const now = (await first(CHANGES, { team: 'press' })).data.walletChanges;
// The wallet is as new as its cursor or newer, so that the first change after it may tell nothing new.
async function more() {
  for await (const answer of client.iterate({ query: CHANGES, variables: { team: 'press', after: now.cursor } })) {
    if (Number(answer.data.walletChanges.wallet.available) > Number(now.wallet.available)) return true;
  }
  return false;
}
const grown = await more();
const query = await first('query ($name: String!) { team(name: $name) { title } }', { name: 'press' });
const refused = await first(CHANGES, { team: 'nobody' }).catch((errors) => errors[0].extensions.code);
await client.dispose();
const stranger = connect({});
const closed = await new Promise((resolve) => {
  stranger.subscribe({ query: '{ __typename }' }, { next: resolve, error: (event) => resolve(event.code), complete: resolve });
});
console.log(JSON.stringify({
  more: grown, title: query.data.team.title, refused, closed,
}));
