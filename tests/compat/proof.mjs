// What every proof shares: rows that must have reached their endpoint, and lines that say how it went.
import assert from "node:assert/strict";

const ROW_SECONDS = 40;
const seen = [];
const native = globalThis.fetch;

globalThis.fetch = async (input, init) => {
  const url = new URL(input instanceof Request ? input.url : String(input));
  const method = init?.method ?? (input instanceof Request ? input.method : "GET");
  const answer = await native(input, init);
  seen.push({ method: method.toUpperCase(), path: url.pathname, status: answer.status });
  return answer;
};

let passed = 0;
let failed = 0;
const driven = new Set();
/** A template with nothing between its braces: what a place is called is no matter. */
const shapeOf = (endpoint) => endpoint.replace(/\{[^}]+\}/g, "{}");

/** Prove a row: `play` holds its expectations, and the endpoint must have been asked meanwhile. */
export async function row(endpoint, calls, play) {
  const [method, template] = endpoint.split(" ");
  const shape = new RegExp(
    `^${template.replace(/[.]/g, "\\.").replace(/\{path\}/g, ".+").replace(/\{[^}]+\}/g, "[^/]+")}$`,
  );
  const from = seen.length;
  driven.add(shapeOf(endpoint));
  let why;
  const late = new AbortController();
  try {
    await Promise.race([play(), expired(late.signal)]);
    const reached = seen.slice(from).some((one) => one.method === method && shape.test(one.path));
    assert.ok(reached, `no request reached ${endpoint}`);
  } catch (error) {
    const asked = seen.slice(from).map((one) => `${one.method} ${one.path} ${one.status}`);
    const message = String(error?.message ?? error).replace(/\s+/g, " ").slice(0, 700);
    why = `${error?.name}: ${message} [${[...new Set(asked)].slice(-4).join("; ")}]`;
  }
  late.abort();
  if (why) failed += 1;
  else passed += 1;
  console.log(`${why ? "FAIL" : "ok  "}  ${endpoint}  ${calls}${why ? `  ${why}` : ""}`);
}

function expired(signal) {
  return new Promise((_, reject) => {
    const timer = setTimeout(() => reject(new Error(`not done in ${ROW_SECONDS} s`)), ROW_SECONDS * 1000);
    signal.addEventListener("abort", () => clearTimeout(timer));
  });
}

/** Poll until `look` gives something true; a row's own deadline ends it. */
export async function until(look) {
  for (let turn = 0; turn < 300; turn += 1) {
    const found = await look();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`never came true: ${look}`);
}

/** Collect what an async iterable yields, all of it or until `enough` says so. */
export async function gather(iterable, enough = () => false) {
  const all = [];
  for await (const one of iterable) {
    all.push(one);
    if (enough(all)) break;
  }
  return all;
}

/** Say which of these endpoints no row has driven; each counts as one that failed. */
export function complete(endpoints) {
  for (const endpoint of endpoints.filter((one) => !driven.has(shapeOf(one)))) {
    failed += 1;
    console.log(`FAIL  ${endpoint}  no row drives it`);
  }
}

export function end() {
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}
