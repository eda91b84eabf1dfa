// What this server does not have answers plainly, is not tried again, and never with a 500.
import assert from "node:assert/strict";
import { row } from "./proof.mjs";

const ABSENT = [
  "POST /api/v1/runs/{id}/input-streams/wait",
  "POST /api/v1/runs/{id}/session-streams/wait",
  "POST /api/v1/query",
  "GET /api/v1/query/schema",
  ...crossed(["GET", "POST"], "/api/v1/query/dashboards"),
  ...crossed(["GET", "PATCH", "PUT", "DELETE"], "/api/v1/query/dashboards/{id}"),
  "POST /api/v1/query/dashboards/{id}/widgets",
  ...crossed(["PATCH", "DELETE"], "/api/v1/query/dashboards/{id}/widgets/{widget}"),
  "GET /api/v1/concurrency-limits",
  "GET /api/v1/concurrency-limits/{name}",
  "GET /api/v1/concurrency-limits/{name}/keys/{key}",
  ...crossed(["POST"], "/api/v1/concurrency-limits/{name}/{override|pause|reset}"),
  "GET /api/v1/prompts",
  ...crossed(["GET", "POST"], "/api/v1/prompts/{slug}"),
  "GET /api/v1/prompts/{slug}/versions",
  "POST /api/v1/prompts/{slug}/promote",
  ...crossed(["POST", "PUT", "DELETE"], "/api/v1/prompts/{slug}/override"),
  "POST /api/v1/prompts/{slug}/override/reactivate",
  ...crossed(["GET", "POST"], "/api/v1/sessions"),
  ...crossed(["GET", "PATCH"], "/api/v1/sessions/{id}"),
  ...crossed(["POST"], "/api/v1/sessions/{id}/{close|end-and-continue}"),
  ...crossed(["GET", "PUT"], "/api/v1/sessions/{id}/snapshot-url"),
  "GET /api/v1/sessions/{id}/transcript",
  ...crossed(["PUT", "GET"], "/realtime/v1/sessions/{id}/out"),
  "GET /realtime/v1/sessions/{id}/channels/{name}/out",
  "POST /realtime/v1/sessions/{id}/in/append",
  "GET /realtime/v1/sessions/{id}/out/records",
  "GET /api/v1/webhooks/endpoints",
  "GET /api/v1/webhooks/endpoints/{id}",
  ...crossed(["POST"], "/api/v1/webhooks/endpoints/{id}/secret{|/rotate}"),
  "GET /api/v1/webhooks/deliveries",
  "GET /api/v1/webhooks/deliveries/{id}",
  "POST /api/v1/webhooks/deliveries/{id}/replay",
  "POST /api/v1/webhooks/waiters",
  "DELETE /api/v1/webhooks/waiters/{id}",
  "GET /api/v1/reports/{key}",
  "POST /api/v1/auth/oidc/token",
];

/** Spell out methods, and the alternatives of a path: `{a|b}` is both. */
function crossed(methods, template) {
  const choice = /\{([^}]*\|[^}]*)\}/.exec(template);
  const paths = choice ? choice[1].split("|").map((one) => template.replace(choice[0], one)) : [template];
  return methods.flatMap((method) => paths.map((path) => `${method} ${path}`));
}

export async function prove({ sdk, ask, newer }) {
  for (const endpoint of ABSENT) {
    const [method, template] = endpoint.split(" ");
    await row(endpoint, "absent", async () => {
      const path = template.replace(/\{[^}]+\}/g, "x1");
      const { status, headers, body } = await ask(method, path, method === "GET" ? undefined : "{}");
      assert.ok([404, 501].includes(status), `answered ${status}`);
      assert.ok(typeof (body.error?.message ?? body.error) === "string", JSON.stringify(body));
      assert.equal(headers.get("x-should-retry"), "false");
    });
  }
  const calls = [
    ["POST /api/v1/query", "query.execute", () => sdk.query.execute("SELECT 1")],
    ["GET /api/v1/prompts", "prompts.list", () => sdk.prompts.list()],
    ["POST /api/v1/sessions", "sessions.start", () => sdk.sessions.start({ type: "chat", externalId: "s", taskIdentifier: "mail", triggerConfig: { basePayload: {} } })],
    ...(newer ? [["GET /api/v1/concurrency-limits", "concurrencyLimits.list", () => sdk.concurrencyLimits.list()]] : []),
  ];
  for (const [endpoint, name, call] of calls) {
    await row(endpoint, `${name} says what is missing, at once`, async () => {
      const began = Date.now();
      const error = await call().then(() => assert.fail("went well"), (thrown) => thrown);
      assert.equal(error.status, 501, String(error));
      assert.match(error.message, /this server has no /);
      assert.ok(Date.now() - began < 900, "tried again");
    });
  }
}
