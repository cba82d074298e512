import cluster from "node:cluster";
import { createServer } from "node:http";
import { grafserv } from "postgraphile/grafserv/node";
import { postgraphile } from "postgraphile";
import preset from "./graphile.config.mjs";

const processes = Number(process.env.PEER_PROCESSES);

// As Node's documentation has it: the first process deals the connections out to the others in turn.
if (processes > 1 && cluster.isPrimary) {
  for (let count = 0; count < processes; count += 1) cluster.fork();
  process.on("SIGTERM", () => process.exit());
} else {
  const server = createServer();
  await postgraphile(preset).createServ(grafserv).addTo(server);
  server.listen(preset.grafserv.port, preset.grafserv.host);
}
