// graphql-sse, distinct connections: the same story as graphql-ws.mjs: node graphql-sse.mjs URL TOKEN
import { createClient } from 'graphql-sse';

const [url, token] = process.argv.slice(2);
const CHANGES = `subscription ($team: String!, $after: String) {
  walletChanges(team: $team, after: $after) { cursor wallet { available } }
}`;
const client = createClient({ url, headers: { authorization: `Bearer ${token}` }, retryAttempts: 0 });

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
const refused = (await first(CHANGES, { team: 'nobody' })).errors[0].extensions.code;
client.dispose();
const stranger = createClient({ url, retryAttempts: 0 });
const closed = await new Promise((resolve) => {
  stranger.subscribe({ query: '{ __typename }' }, {
    next: resolve, error: (error) => resolve(error.response.status), complete: resolve,
  });
});
console.log(JSON.stringify({
  more: grown, title: query.data.team.title, refused, closed,
}));
