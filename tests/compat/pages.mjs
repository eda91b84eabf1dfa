// Serves the pages that a browser is shown: those of the guides, and one with every hook. Usage: node pages.mjs VERSION
// The first line of output is the address. The code of the guides is taken from the guides.
import { createServer } from "node:http";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const version = process.argv[2];
const here = dirname(fileURLToPath(import.meta.url));
const guides = join(here, "../../docs/guides");
const folder = mkdtempSync(join(tmpdir(), "outlast-pages-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit(0));
process.stdin.on("end", () => process.exit(0)).resume(); // whoever started it is gone

for (const guide of ["react.md", "nextjs.md"]) {
  const blocks = readFileSync(join(guides, guide), "utf8").matchAll(/```tsx?\n\/\/ (\S+)\n([^]*?)```/g);
  for (const [, name, source] of blocks) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    // What the reader is told to put there: here it keeps the versions apart.
    writeFileSync(join(folder, name), source.replace('upload = "march"', `upload = "march ${version}"`));
  }
}
writeFileSync(join(folder, "react.tsx"), `
  import { createRoot } from "react-dom/client";
  import { ImportPage } from "./import-page";
  const props = await (await fetch("/props/react")).json();
  createRoot(document.getElementById("root")!).render(<ImportPage {...props} />);
`);
writeFileSync(join(folder, "next.tsx"), `
  import { createRoot } from "react-dom/client";
  import { ImportForm } from "./app/imports/import-form";
  const props = await (await fetch("/props/next")).json();
  createRoot(document.getElementById("root")!).render(<ImportForm {...props} />);
`);
writeFileSync(join(folder, "hooks.tsx"), `
  import { createRoot } from "react-dom/client";
  import { Hooks } from ${JSON.stringify(join(here, "every-hook.jsx"))};
  const props = await (await fetch("/props/hooks")).json();
  createRoot(document.getElementById("root")!).render(<Hooks {...props} />);
`);
writeFileSync(join(folder, "rendered.ts"), `
  export * as actions from "./app/imports/actions";
  export { default as Page } from "./app/imports/page";
  export * as sdk from "@trigger.dev/sdk";
`);

/** What Next.js does with a file of actions: the browser gets calls to the server in its place. */
const remote = {
  name: "server actions",
  setup(found) {
    found.onLoad({ filter: /actions\.ts$/ }, ({ path }) => {
      const source = readFileSync(path, "utf8");
      if (!source.trimStart().startsWith('"use server"')) throw new Error(`${path} is no file of actions`);
      const names = [...source.matchAll(/export async function (\w+)/g)].map(([, name]) => name);
      const calls = names.map((name) => `export const ${name} = (...args) => call(${JSON.stringify(name)}, args);`);
      return {
        contents: `const call = async (name, args) => {
          const answer = await fetch("/actions/" + name, { method: "POST", body: JSON.stringify(args) });
          if (!answer.ok) throw new Error(await answer.text());
          return answer.json();
        };\n${calls.join("\n")}`,
        loader: "js",
      };
    });
  },
};
const common = {
  absWorkingDir: here,
  nodePaths: [join(here, "node_modules")],
  alias: { "@trigger.dev/react-hooks": `hooks-${version}`, "@trigger.dev/sdk": `sdk-${version}` },
  bundle: true,
  format: "esm",
  jsx: "automatic",
  logLevel: "error",
};
await build({
  ...common,
  entryPoints: ["react", "next", "hooks"].map((name) => join(folder, `${name}.tsx`)),
  outdir: join(folder, "out"),
  platform: "browser",
  external: ["node:*"], // only ever imported where Node is
  target: "es2022",
  define: {
    "process.env.NODE_ENV": '"production"',
    "process.env.NEXT_PUBLIC_TRIGGER_API_URL": JSON.stringify(process.env.TRIGGER_API_URL),
  },
  plugins: [remote],
});
await build({
  ...common,
  entryPoints: [join(folder, "rendered.ts")],
  outfile: join(here, `node_modules/.rendered-${version}.mjs`), // beside the packages, which stay outside of it
  platform: "node",
  packages: "external",
  alias: {},
  plugins: [{
    name: "the version",
    setup(found) {
      found.onResolve({ filter: /^@trigger\.dev\// }, ({ path }) => ({
        path: path.replace("@trigger.dev/react-hooks", `hooks-${version}`).replace("@trigger.dev/sdk", `sdk-${version}`),
        external: true,
      }));
    },
  }],
});
const { actions, Page, sdk } = await import(pathToFileURL(join(here, `node_modules/.rendered-${version}.mjs`)));
const { props } = await import("./every-hook-props.mjs");

const made = {
  react: async () => ({
    apiUrl: process.env.TRIGGER_API_URL,
    token: await sdk.auth.createTriggerPublicToken("import-customers"),
    rows: ["ada@example.com", "odd one", "odd two", "bo@example.com"],
  }),
  next: async () => (await Page()).props,
  hooks: () => props(sdk, process.env.TRIGGER_API_URL, version),
};
const kept = {}; // a page that is loaded again is the same page

async function answer(path, body) {
  const [, kind, name] = path.split("/");
  if (kind === "props" && name === "next") return ["application/json", JSON.stringify(await made.next())];
  if (kind === "props") return ["application/json", JSON.stringify(await (kept[name] ??= made[name]()))];
  if (kind === "actions") return ["application/json", JSON.stringify((await actions[name](...JSON.parse(body))) ?? null)];
  if (kind === "out") return ["text/javascript", readFileSync(join(folder, "out", name))];
  const page = `<!doctype html><title>${kind}</title><link rel=icon href=data:,><div id=root></div><script type=module src=/out/${kind}.js></script>`;
  return ["text/html", page];
}
const server = createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  try {
    const [type, text] = await answer(request.url, body);
    response.writeHead(200, { "content-type": type }).end(text);
  } catch (error) {
    console.error(error);
    response.writeHead(500).end(String(error));
  }
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/`));
