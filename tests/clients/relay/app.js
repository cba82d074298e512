// What a Relay application asks: a page within a page, refetched by cursor and by node.
import { graphql } from 'relay-runtime';

export const teams = graphql`
  query appTeamsQuery($first: Int!) {
    viewer { permissions }
    ...app_teams @arguments(count: $first)
  }
`;

export const list = graphql`
  fragment app_teams on Query
  @argumentDefinitions(count: { type: "Int", defaultValue: 10 }, cursor: { type: "String" })
  @refetchable(queryName: "appMoreTeamsQuery") {
    teams(first: $count, after: $cursor) @connection(key: "app_teams") {
      edges { node { id ...app_team } }
    }
  }
`;

export const team = graphql`
  fragment app_team on Team
  @argumentDefinitions(count: { type: "Int", defaultValue: 5 }, cursor: { type: "String" })
  @refetchable(queryName: "appTeamQuery") {
    title
    models(first: $count, after: $cursor) @connection(key: "app_models") {
      edges { node { id name } }
    }
  }
`;
