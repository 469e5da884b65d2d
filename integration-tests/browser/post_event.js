// Opens pages in headless Chromium and has each send one request; prints what the pages saw.
//
// usage: node post_event.js '[{"page", "url", "method", "headers", "body"}, ...]'
//
// Every name ending in .test is this machine; certificates of unknown authorities are taken. Output, one object each:
// {"status", "body"} or {"error"} of the page's fetch, "preflights": the status of each preflight that was answered,
// "blocked": the browser's reasons for not letting the page have what came.

const { setTimeout } = require('node:timers/promises');

const { chromium } = require('playwright-core');

async function visit(context, { page: address, url, method, headers, body }) {
  const page = await context.newPage();
  const preflights = [];
  const blocked = [];
  const devtools = await context.newCDPSession(page);
  await devtools.send('Network.enable');
  devtools.on('Network.responseReceived', ({ type, response }) => {
    if (type === 'Preflight') preflights.push(response.status);
  });
  devtools.on('Network.loadingFailed', ({ corsErrorStatus }) => {
    if (corsErrorStatus) blocked.push(corsErrorStatus.corsError);
  });
  await page.goto(address);
  const seen = await page.evaluate(
    async ({ url, method, headers, body }) => {
      try {
        const answer = await fetch(url, { method, headers, body: body ?? undefined });
        return { status: answer.status, body: await answer.json() };
      } catch (error) {
        return { error: String(error) };
      }
    },
    { url, method, headers, body },
  );
  // What DevTools tell of the network may come after the page's own answer.
  const told = () => preflights.length > 0 && (seen.error === undefined || blocked.length > 0);
  for (let waited = 0; !told() && waited < 5000; waited += 10) await setTimeout(10);
  await page.close();
  return { ...seen, preflights, blocked };
}

async function main() {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--host-resolver-rules=MAP *.test 127.0.0.1'],
  });
  try {
    const seen = [];
    for (const request of JSON.parse(process.argv[2])) {
      // A context of its own for each, so that none knows of another's preflight.
      const context = await browser.newContext({ ignoreHTTPSErrors: true });
      seen.push(await visit(context, request));
      await context.close();
    }
    console.log(JSON.stringify(seen));
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
