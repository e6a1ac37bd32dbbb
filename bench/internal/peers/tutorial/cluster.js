// Runs a program in as many processes as there are processors: node cluster.js PROGRAM [ARGUMENT …]
import cluster from "node:cluster";
import { availableParallelism } from "node:os";

const [exec, ...args] = process.argv.slice(2);
cluster.setupPrimary({ exec, args });
for (let i = 0; i < availableParallelism(); i++) cluster.fork();
cluster.on("exit", () => process.exit(1));
