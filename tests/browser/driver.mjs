// Drives Chromium for tests that are written in Python: one JSON command per line in, one answer out.
// {"id": 1, "call": "click", "args": ["button"]} calls that method of the page.

import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [executablePath, profile] = process.argv.slice(2);
const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
  viewport: { width: 1280, height: 900 },
});
context.setDefaultTimeout(10_000);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
let errors = [];
const open = (tab) => {
  tab.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) errors.push(message.text());
  });
  tab.on("pageerror", (error) => errors.push(String(error)));
  tab.on("dialog", (dialog) => dialog.accept());
  return tab;
};
let page = open(context.pages()[0] ?? (await context.newPage()));

const own = {
  errors: () => errors.splice(0),
  wheel: (x, y) => page.mouse.wheel(x, y),
  press: (key) => page.keyboard.press(key),
  emulate: (media) => page.emulateMedia(media),
  resize: (width, height) => page.setViewportSize({ width, height }),
  // what pages bring along stays switched off; scripts of the test go through the debugger
  scripts: async (wanted) => {
    const session = await context.newCDPSession(page);
    await session.send("Emulation.setScriptExecutionDisabled", { value: !wanted });
  },
  // the tab of that number is the page from now on; a new one, if there is none yet
  tab: async (number) => {
    page = context.pages()[number] ?? open(await context.newPage());
  },
  closeTabs: async () => {
    const [first, ...others] = context.pages();
    page = first;
    await Promise.all(others.map((tab) => tab.close()));
  },
  forget: () => context.clearCookies(),
  cookies: () => context.cookies(),
  // scripts of the test are not the page's: its policy holds for them only through this door
  evaluate: (script) => page.evaluate(script),
  goto: (url) => page.goto(url, { waitUntil: "load" }).then((reply) => reply.status()),
  text: (selector) => page.locator(selector).first().innerText(),
  screenshot: (options) => page.screenshot(options).then(() => null),
  axe: async () => {
    const session = await context.newCDPSession(page);
    const run = async (expression) => {
      const { result, exceptionDetails } = await session.send("Runtime.evaluate", {
        expression, awaitPromise: true, returnByValue: true,
      });
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value;
    };
    await run(axe);
    return run(`axe.run(document).then(({ violations }) => violations.map(({ id, help, nodes }) =>
      ({ id, help, where: nodes.slice(0, 5).map((node) => node.html.slice(0, 200) + " " + (node.any[0]?.message ?? "")) })))`);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, call, args } = JSON.parse(line);
  let answer;
  try {
    const value = await (own[call] ? own[call](...args) : page[call](...args));
    answer = { id, value: value ?? null };
  } catch (error) {
    answer = { id, error: String(error) };
  }
  try {
    process.stdout.write(JSON.stringify(answer) + "\n");
  } catch {
    process.stdout.write(JSON.stringify({ id, value: null }) + "\n");
  }
}
await context.close();
