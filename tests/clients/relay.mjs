// Sends what relay-compiler has made of relay/app.js: node relay.mjs URL TOKEN FOLDER
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const [url, token, folder] = process.argv.slice(2);
const answers = {};
for (const [name, variables] of [
  ['appTeamsQuery', { first: 1 }],
  ['appMoreTeamsQuery', { count: 1 }],
]) {
  const text = JSON.parse(readFileSync(join(folder, 'documents.json'), 'utf8'));
  const artifact = readFileSync(join(folder, '__generated__', `${name}.graphql.js`), 'utf8');
  const id = /"id": "([0-9a-f]+)"/.exec(artifact)[1];
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ query: text[id], variables }),
  });
  answers[name] = await answer.json();
}
console.log(JSON.stringify(answers));
