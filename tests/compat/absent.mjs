// What this server does not have answers plainly, is not tried again, and never with a 500.
import assert from "node:assert/strict";
import { row } from "./proof.mjs";

const ABSENT = [
  ["POST", "/api/v1/runs/run_1/input-streams/wait"],
  ["POST", "/api/v1/runs/run_1/session-streams/wait"],
  ["POST", "/api/v1/query"],
  ["GET", "/api/v1/query/schema"],
  ["GET", "/api/v1/query/dashboards"],
  ["PATCH", "/api/v1/query/dashboards/d/widgets/w"],
  ["GET", "/api/v1/concurrency-limits"],
  ["POST", "/api/v1/concurrency-limits/x/pause"],
  ["GET", "/api/v1/prompts"],
  ["POST", "/api/v1/prompts/x/override"],
  ["POST", "/api/v1/sessions"],
  ["PATCH", "/api/v1/sessions/s"],
  ["PUT", "/realtime/v1/sessions/s/out"],
  ["GET", "/realtime/v1/sessions/s/out"],
  ["GET", "/api/v1/webhooks/endpoints"],
  ["POST", "/api/v1/webhooks/deliveries/d/replay"],
  ["GET", "/api/v1/reports/x"],
  ["POST", "/api/v1/auth/oidc/token"],
];

export async function prove({ ask }) {
  for (const [method, path] of ABSENT) {
    await row(`${method} ${path}`, "absent", async () => {
      const { status, headers, body } = await ask(method, path, method === "GET" ? undefined : "{}");
      assert.ok([404, 501].includes(status), `answered ${status}`);
      assert.ok(typeof (body.error?.message ?? body.error) === "string", JSON.stringify(body));
      assert.equal(headers.get("x-should-retry"), "false");
    });
  }
}
