// Every call of an official SDK, against the server of TRIGGER_API_URL. Usage: node drive.mjs VERSION PART...
import { createRequire } from "node:module";
import { realpathSync } from "node:fs";
import { CONTRACT } from "./contract.mjs";
import { complete, end } from "./proof.mjs";

const WHOLE = ["runs", "things", "live", "inside"]; // the parts that go through the contract

const version = process.argv[2];
const sdk = await import(`sdk-${version}`);
const home = createRequire(realpathSync(new URL(`node_modules/sdk-${version}/package.json`, import.meta.url)));
const load = async (path) => {
  const found = home.resolve(path).replace("/dist/commonjs/", "/dist/esm/");
  return import(found);
};
const core = await load("@trigger.dev/core/v3");
const workers = await load("@trigger.dev/core/v3/workers");

const url = process.env.TRIGGER_API_URL;
const key = process.env.TRIGGER_SECRET_KEY;
const world = {
  version,
  newer: version === "4.8.3",
  sdk,
  core,
  workers,
  url,
  key,
  additional: process.env.COMPAT_ADDITIONAL_KEY,
  personal: process.env.COMPAT_PERSONAL_TOKEN,
  viewer: process.env.COMPAT_VIEWER_TOKEN,
  project: "proj_fleet",
  client: new core.ApiClient(url, key),
  /** Ask without a client of theirs: the rows that only a worker or a third party calls. */
  ask: async (method, path, body, headers = {}) => {
    const answer = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json", ...headers },
      body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
    });
    const text = await answer.text();
    let json;
    try { json = JSON.parse(text); } catch { json = text; }
    return { status: answer.status, headers: answer.headers, body: json };
  },
};

const parts = process.argv.slice(3);
for (const part of parts) await (await import(`./${part}.mjs`)).prove(world);
if (WHOLE.every((part) => parts.includes(part))) complete(CONTRACT);
end();
