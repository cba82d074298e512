// PostGraphile 5 as its documentation has it, on views that hold the viewer's predicate; no GraphiQL, no logging.
import { makePgService } from "postgraphile/adaptors/pg";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";

export default {
  extends: [PostGraphileAmberPreset],
  pgServices: [
    makePgService({
      poolConfig: {
        host: process.env.PEER_HOST,
        user: process.env.PEER_USER,
        password: process.env.PEER_PASSWORD,
        database: process.env.PEER_DATABASE,
        max: Number(process.env.PEER_CONNECTIONS),
      },
      schemas: ["peer"],
    }),
  ],
  grafserv: { host: "127.0.0.1", port: Number(process.env.PEER_PORT), graphiql: false, watch: false },
  grafast: { explain: false },
};
