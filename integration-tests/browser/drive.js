// Drives one page in headless Chromium as it is told: one JSON object a line on standard input, one answer a line.
//
// {"do": "open", "url", "width", "height", "scheme", "motion"}  a page of its own
// {"do": "eval", "script"}                    what the expression gives, awaited
// {"do": "until", "script", "ms"}             waits until the expression gives something true
// {"do": "click" | "fill" | "press", "selector", "text"}
// {"do": "size", "width", "height"}
// {"do": "picture", "path", "full"}
// {"do": "barriers"}                          what axe-core finds to keep people out, one text each
// {"do": "unreachable"}                       controls that Tab does not reach, or does not show that it has reached
// {"do": "complaints"}                        errors of console, page, network and policy since the last time
//
// An answer is {"value"} or {"error"}.

const { readFileSync } = require('node:fs');
const readline = require('node:readline');
const { setTimeout } = require('node:timers/promises');

const { chromium } = require('playwright-core');

const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

let page;
let complaints = [];

// Runs in the page.
const beginTabbing = () => {
  document.activeElement.blur();
  const controls = [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex]')];
  const scope = document.querySelector('dialog:modal') ?? document;
  window.unseen = new Set(controls.filter((of) => scope.contains(of) && !of.disabled && of.tabIndex >= 0 && of.checkVisibility()));
  return window.unseen.size;
};
const atTab = () => {
  const of = document.activeElement;
  if (of === document.body) return null;
  const isNew = window.unseen.delete(of);
  const { outlineStyle, outlineWidth } = getComputedStyle(of);
  const { top, bottom } = of.getBoundingClientRect();
  const isSeen = outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2 && bottom > 0 && top < innerHeight;
  return isNew && !isSeen ? `cannot be seen to have the focus: ${of.outerHTML.slice(0, 160)}` : null;
};
const endTabbing = () => [...window.unseen].map((of) => `Tab does not reach: ${of.outerHTML.slice(0, 160)}`);

const deeds = {
  async open({ url, width, height, scheme, motion }, browser) {
    const context = await browser.newContext({
      colorScheme: scheme ?? 'light',
      reducedMotion: motion ? 'no-preference' : 'reduce',
      viewport: { width: width ?? 1440, height: height ?? 900 },
      timezoneId: 'UTC',
    });
    page = await context.newPage();
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(`console: ${message.text()}`);
    });
    page.on('pageerror', (error) => complaints.push(`page: ${error.message}`));
    page.on('dialog', (dialog) => {
      complaints.push(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on('request', (request) => {
      const to = new URL(request.url());
      if (to.protocol !== 'blob:' && to.origin !== new URL(url).origin) complaints.push(`request to ${to.origin}`);
    });
    await page.goto(url);
  },
  eval: ({ script }) => page.evaluate(script),
  until: async ({ script, ms }) => {
    // The page's policy lets nobody evaluate text in it, so the looking is done from here.
    for (const end = Date.now() + (ms ?? 60000); !(await page.evaluate(script)); await setTimeout(50)) {
      if (Date.now() > end) throw new Error(`never came true; the page says: ${await page.innerText('body')}`);
    }
  },
  click: ({ selector }) => page.click(selector),
  fill: ({ selector, text }) => page.fill(selector, text),
  press: ({ text }) => page.keyboard.press(text),
  size: ({ width, height }) => page.setViewportSize({ width, height }),
  picture: async ({ path, full }) => {
    await page.screenshot({ path, fullPage: full ?? false });
  },
  barriers: async () => {
    await page.evaluate(axe);
    const { violations } = await page.evaluate('axe.run(document, { resultTypes: ["violations"] })');
    const where = ({ target, failureSummary }) => `${target.join(' ')}: ${failureSummary.replace(/\s+/g, ' ')}`;
    return violations.map(({ id, impact, nodes }) => `${id} (${impact}): ${nodes.slice(0, 3).map(where).join('; ')}`);
  },
  unreachable: async () => {
    const controls = await page.evaluate(beginTabbing);
    const found = [];
    // Once around from wherever it begins; some controls have several stops in them.
    for (let tabs = 0; tabs < 2 * controls + 30 && (await page.evaluate('window.unseen.size')) > 0; tabs++) {
      await page.keyboard.press('Tab');
      const trouble = await page.evaluate(atTab);
      if (trouble) found.push(trouble);
    }
    return [...found, ...(await page.evaluate(endTabbing))];
  },
  complaints: () => complaints.splice(0),
};

async function obey(order, browser) {
  try {
    return { value: (await deeds[order.do](order, browser)) ?? null };
  } catch (error) {
    return { error: error.message };
  }
}

async function main() {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox'],
  });
  try {
    for await (const line of readline.createInterface({ input: process.stdin })) {
      const order = JSON.parse(line);
      const answer = await obey(order, browser);
      console.log(JSON.stringify(answer));
    }
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
