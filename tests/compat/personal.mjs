// What a person's own token opens: every environment that an address names, as far as the role goes.
import assert from "node:assert/strict";
import { gather, row } from "./proof.mjs";

export async function prove({ sdk, core, url, key, project, version, personal, viewer }) {
  const { auth, envvars, runs, tasks } = sdk;
  const as = { accessToken: personal, baseURL: url };
  const name = `MINE_${version.replaceAll(".", "_")}`;

  await row("GET /api/v2/whoami", "the token check of the CLI", async () => {
    const told = await fetch(`${url}/api/v2/whoami`, { headers: { authorization: `Bearer ${personal}` } });
    assert.equal((await told.json()).email, "compat@example.com");
    const refused = await fetch(`${url}/api/v2/whoami`, { headers: { authorization: `Bearer ${key}` } });
    assert.equal(refused.status, 401);
  });
  for (const slug of ["dev", "prod"]) {
    const at = [project, slug];
    const mine = (call) => auth.withAuth(as, call);
    await row("POST /api/v1/projects/{ref}/envvars/{env}", `envvars.create in ${slug}`, async () => {
      assert.equal((await mine(() => envvars.create(...at, { name, value: slug }))).success, true);
      await assert.rejects(mine(() => envvars.create("proj_none", slug, { name, value: "x" }).then((one) => one)), { status: 404 });
    });
    await row("GET /api/v1/projects/{ref}/envvars/{env}/{name}", `envvars.retrieve in ${slug}`, async () => {
      assert.equal((await mine(() => envvars.retrieve(...at, name))).value, slug);
    });
    await row("GET /api/v1/projects/{ref}/envvars/{env}", `envvars.list in ${slug}`, async () => {
      assert.ok((await mine(() => envvars.list(...at))).some((one) => one.name === name && one.value === slug));
    });
    await row("POST /api/v1/projects/{ref}/envvars/{env}/import", `envvars.upload in ${slug}`, async () => {
      assert.equal((await mine(() => envvars.upload(...at, { variables: { [name]: "b" }, override: true }))).success, true);
    });
    await row("PUT /api/v1/projects/{ref}/envvars/{env}/{name}", `ApiClient.updateEnvVar in ${slug}`, async () => {
      const client = new core.ApiClient(url, personal);
      assert.equal((await client.updateEnvVar(...at, name, { value: "c" })).success, true);
    });
    await row("DELETE /api/v1/projects/{ref}/envvars/{env}/{name}", `envvars.del in ${slug}`, async () => {
      assert.equal((await mine(() => envvars.del(...at, name))).success, true);
    });
  }
  await row("POST /api/v1/projects/{ref}/envvars/{env}", "a viewer reads and changes nothing", async () => {
    await auth.withAuth({ accessToken: viewer, baseURL: url }, async () => {
      assert.ok(Array.isArray(await envvars.list(project, "dev")));
      await assert.rejects(envvars.create(project, "dev", { name, value: "x" }).then((one) => one), { status: 403 });
    });
  });
  await row("GET /api/v1/projects/{ref}/runs", "runs.list(projectRef) with TRIGGER_ACCESS_TOKEN", async () => {
    const { id } = await tasks.trigger("mail", 1, { delay: "1h", tags: [name] });
    delete process.env.TRIGGER_SECRET_KEY;
    process.env.TRIGGER_ACCESS_TOKEN = personal;
    try {
      const found = await gather(runs.list(project, { env: "dev", tag: name, limit: 1 }));
      assert.deepEqual(found.map((one) => [one.id, one.env.name]), [[id, "dev"]]);
      assert.deepEqual((await runs.list(project, { env: "prod" })).data, []);
      await assert.rejects(runs.list(project, { env: ["dev", "prod"] }).then((one) => one), { status: 422 });
      await assert.rejects(runs.list({ limit: 1 }).then((one) => one), { status: 401, message: /use a key/ });
    } finally {
      process.env.TRIGGER_SECRET_KEY = key;
      delete process.env.TRIGGER_ACCESS_TOKEN;
    }
  });
}
