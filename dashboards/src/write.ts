// Writes the dashboards as Grafana imports them: node out/write.js FOLDER

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { breakerd } from "./breakerd.js";
import { circuitBreakers } from "./circuit-breakers.js";

const folder = process.argv[2];
if (!folder) {
  throw new Error("usage: node out/write.js FOLDER");
}
mkdirSync(folder, { recursive: true });
for (const dashboard of [circuitBreakers, breakerd]) {
  const name = dashboard.uid === "breakerd-service" ? "breakerd" : "circuit-breakers";
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(dashboard, null, 2)}\n`);
}
