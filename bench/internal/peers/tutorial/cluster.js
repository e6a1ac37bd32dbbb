// Runs a server in as many processes as there are processors: node cluster.js api.js
import cluster from "node:cluster";
import { availableParallelism } from "node:os";

if (cluster.isPrimary) {
  for (let i = 0; i < availableParallelism(); i++) cluster.fork();
  cluster.on("exit", () => process.exit(1));
} else {
  await import(new URL(process.argv[2], import.meta.url));
}
