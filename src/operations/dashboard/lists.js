// The lists below the drawing: events, screenshots, what is kept aside, actors, settings.

import { get, image, post, text } from './api.js';
import { attribute, bar, bdi, byId, bytes, count, el, moment, put, visible } from './dom.js';
import { called } from './flow.js';
import { indented } from './json.js';
import { refreshSettings } from './settings.js';

let current = null;
let selected = 'events';

/** Takes the newest state; refreshes the list that is open when it has reason to. */
export function show(state) {
  const before = current;
  current = state;
  if (before === null) begin(state);
  showBadges(state);
  if (selected === 'actors') showActors(state);
  if (selected === 'letters') showJobs(state);
  const offset = (of, stream) => of?.journal.streams[stream]?.nextOffset;
  const moved = (stream) => offset(before, stream) !== offset(state, stream);
  if (selected === 'events' && events.follow && moved(events.stream)) events.refresh();
  if (selected === 'screenshots' && moved('audit-events')) shots.refresh();
  const letters = (of) => of && Object.values(of.destinations).reduce((sum, one) => sum + one.deadLettered, 0);
  const jobs = (of) => of && JSON.stringify(of.jobs);
  if (selected === 'letters' && (letters(before) !== letters(state) || jobs(before) !== jobs(state))) refreshLetters();
  const refused = (of) => of && JSON.stringify(of.intakes.user_events?.rejected);
  if (selected === 'rejected' && refused(before) !== refused(state)) refreshRejected();
}

function begin(state) {
  byId('events-filter').elements.stream.append(...Object.keys(COLUMNS).map((name) => el('option', { value: name }, called(name))));
  const names = Object.keys(state.destinations).filter((name) => state.destinations[name].canRetry);
  byId('letters-filter').elements.destination.append(...names.map((name) => el('option', { value: name }, called(name))));
  const replayed = names.filter((name) => !state.destinations[name].replayRefused);
  const form = byId('replay').elements;
  form.destination.append(...replayed.map((name) => el('option', { value: name }, called(name))));
  form.from.value = localMoment(new Date(Date.now() - 3600000));
}

function localMoment(at) {
  return new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

// === tabs

const opened = { events: () => events.refresh(), screenshots: () => shots.refresh(), rejected: () => refreshRejected(), letters: () => refreshLetters(), actors: () => current && showActors(current), settings: refreshSettings };

export function startTabs() {
  const tabs = [...byId('tabs').querySelectorAll('[role=tab]')];
  const select = (tab, focus) => {
    for (const other of tabs) {
      const isIt = other === tab;
      attribute(other, 'aria-selected', isIt);
      attribute(other, 'tabindex', isIt ? null : '-1');
      byId(other.getAttribute('aria-controls')).hidden = !isIt;
    }
    selected = tab.id.slice('tab-'.length);
    if (focus) tab.focus();
    opened[selected]();
  };
  for (const [at, tab] of tabs.entries()) {
    tab.addEventListener('click', () => select(tab));
    tab.addEventListener('keydown', (event) => {
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      select(tabs[(to + tabs.length) % tabs.length], true);
    });
  }
  opened.events();
}

function showBadges(state) {
  const letters = Object.values(state.destinations).reduce((sum, of) => sum + of.deadLettered, 0);
  const badge = byId('letters-badge');
  badge.hidden = letters === 0;
  put(badge, count(letters));
}

/** At most one question at a time, and one more when something changed meanwhile. */
function gently(work, note) {
  let runs = false;
  let again = false;
  const run = async () => {
    if (runs) {
      again = true;
      return;
    }
    runs = true;
    do {
      again = false;
      try {
        await work();
      } catch (error) {
        put(byId(note), `Cannot load the list: ${error.message}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 400));
    } while (again);
    runs = false;
  };
  return run;
}

function cell(label, ...children) {
  return el('td', { 'data-label': label }, ...children);
}

// === rows that open

let openings = 0;

/**
 * A button that opens a row of its own below `rowOf()`, as wide as the table, so that no column changes its width.
 * `contents` gives what stands in it; it is asked each time.
 */
function opener(label, rowOf, contents) {
  const id = `more-${++openings}`;
  const button = el('button', { type: 'button', class: 'opener', 'aria-expanded': 'false' }, ...label);
  button.addEventListener('click', () => {
    const row = rowOf();
    if (row.more) {
      row.more.remove();
      row.more = null;
      button.removeAttribute('aria-controls');
    } else {
      row.more = el('tr', { class: 'more', id }, el('td', { colspan: row.cells.length }, ...contents()));
      row.after(row.more);
      attribute(button, 'aria-controls', id);
    }
    attribute(button, 'aria-expanded', Boolean(row.more));
  });
  return button;
}

/** Text that may be long: it wraps, and scrolls in a window of its own, which the keyboard must reach. */
function longText(label, text) {
  return el('pre', { class: 'window mono', role: 'group', tabindex: '0', 'aria-label': label }, text);
}

// === events

const NOT_REPEATED = new Set(['offset', 'stream', 'receivedUnixMs', 'screenshot']);

function fieldsOf(event) {
  const fields = Object.entries(event).filter(([name]) => !NOT_REPEATED.has(name));
  if (event.screenshot) fields.push(...Object.entries(event.screenshot).map(([name, value]) => [`screenshot ${name}`, [value].flat().join('\n')]));
  return fields.filter(([, value]) => value !== '').flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, bdi(value))]);
}

/** Long lists scroll in a window of their own, which the keyboard must reach. */
function fieldList(...items) {
  return el('div', { class: 'window', role: 'group', tabindex: '0', 'aria-label': 'All fields' }, el('dl', { class: 'fields' }, ...items));
}

function userOf(event) {
  return event.userDirectory && event.userId ? `${event.userDirectory}\\${event.userId}` : event.user;
}

// Offsets of one stream say nothing about the other.
const keyOf = (event) => `${event.stream}:${event.offset}`;

const NOT_UTF8 = {
  fallback: 'The text was decoded with Pipeline.udp.fallbackEncoding',
  replaced: 'Invalid UTF-8 was replaced with U+FFFD',
};

const none = (words = '–') => el('span', { class: 'quiet' }, words);
const clipped = (text) => (text ? bdi(text, { class: 'clip' }) : none());
/** What something is called, and below it what tells it from others of that name. */
const twoLines = (first, second) => (second && second !== first ? el('div', {}, clipped(first ?? second), first ? bdi(second, { class: 'clip quiet small' }) : null) : clipped(first));

const time = ['Time', (event) => moment(event.receivedUnixMs)];
const user = ['User', (event) => (userOf(event) ? bdi(userOf(event), { class: 'clip' }) : none('none'))];
const app = ['App', (event) => clipped(event.appName ?? event.appId)];

/** The columns of a stream; the one of the event opens the row. */
const COLUMNS = {
  'user-events': [time, user, app, ['Event', openerOf], ['Host', (event) => clipped(event.host)]],
  'audit-events': [time, user, app, ['Sheet', (event) => clipped(event.sheetName ?? event.sheetId)], ['Object', (event) => twoLines(event.objectType, event.objectId)], ['Event', openerOf]],
};

function showColumns(stream) {
  const table = byId('events');
  if (table.dataset.stream === stream) return;
  table.dataset.stream = stream;
  table.tHead.rows[0].replaceChildren(...COLUMNS[stream].map(([label]) => el('th', { scope: 'col', 'data-column': label.toLowerCase() }, label)));
}

function openerOf(event) {
  const marks = [];
  const mark = (text, title) => marks.push(' ', el('span', { class: 'badge', title }, text));
  if (event.conflictOf) mark('conflict', 'An earlier event has the same ids and another body; both are stored');
  if (event.clientTimestamp) mark('clock ahead', 'The client timestamp is too far ahead; the time of receipt is used');
  if (event.notUtf8) mark('not UTF-8', NOT_UTF8[event.notUtf8] ?? '');
  const button = opener([bdi(event.command ?? event.type, { class: 'clip' })], () => button.closest('tr'), () => detailsOf(event));
  const type = event.command && event.type !== event.command ? bdi(event.type, { class: 'clip quiet small' }) : null;
  return el('div', {}, button, ...marks, type);
}

function eventRow(event) {
  return el('tr', { 'data-offset': event.offset, 'data-key': keyOf(event) },
    ...COLUMNS[event.stream].map(([label, show]) => cell(label, show(event))));
}

/** All fields; of an audit event the body as it was received, too. */
function detailsOf(event) {
  const fields = fieldList(...fieldsOf(event));
  if (event.stream !== 'audit-events') return [fields];
  const payload = longText('Payload', 'Loading…');
  text(`api/audit-events/${event.offset}/body`).then(
    (body) => put(payload, indented(body).split('\n').map(visible).join('\n')),
    (error) => put(payload, `Cannot load the payload: ${error.message}`));
  return [fields, el('h4', {}, 'Payload'), payload];
}

const EVENTS_SHOWN = 25;

const events = {
  stream: 'user-events',
  follow: true,
  refresh: gently(async () => {
    const parameters = filterOf(byId('events-filter'));
    const found = await get('api/events', { ...parameters, limit: EVENTS_SHOWN });
    showColumns(parameters.stream);
    showEvents(found, false);
  }, 'events-note'),
};

let olderBefore = null;

function showEvents(found, isMore) {
  const body = byId('events').tBodies[0];
  // A row that somebody has opened stays as it is.
  const rows = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const wanted = found.events.map((event) => rows.get(keyOf(event)) ?? eventRow(event)).flatMap((row) => (row.more ? [row, row.more] : [row]));
  if (isMore) body.append(...wanted);
  else replaceRows(body, wanted);
  olderBefore = found.olderBefore;
  byId('events-older').hidden = olderBefore === null;
  const shown = body.querySelectorAll('tr[data-key]').length;
  const looked = found.olderBefore !== null && found.events.length < EVENTS_SHOWN ? ` in the newest ${count(found.scanned)} records` : '';
  put(byId('events-note'), shown ? `${count(shown)} ${shown === 1 ? 'event' : 'events'}${looked}` : `No matching events${looked}. To send sample events: butler-sos send-sample`);
}

/** Rows that stay keep their place in the document, and with it the focus and how far they are scrolled. */
function replaceRows(body, wanted) {
  const stay = new Set(wanted);
  for (const row of [...body.rows]) if (!stay.has(row)) row.remove();
  wanted.forEach((row, at) => body.rows[at] !== row && body.insertBefore(row, body.rows[at] ?? null));
}

function filterOf(form) {
  const { stream, user, app, type } = form.elements;
  return { stream: stream.value, user: user.value.trim(), app: app.value.trim(), type: type.value.trim() };
}

export function startEvents() {
  const form = byId('events-filter');
  let typing;
  form.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      events.stream = form.elements.stream.value;
      events.follow = form.elements.follow.checked;
      events.refresh();
    }, 200);
  });
  form.addEventListener('submit', (event) => event.preventDefault());
  byId('events-older').addEventListener('click', async () => {
    form.elements.follow.checked = events.follow = false;
    try {
      showEvents(await get('api/events', { ...filterOf(form), limit: EVENTS_SHOWN, before: olderBefore }), true);
    } catch (error) {
      put(byId('events-note'), `Cannot load the events: ${error.message}`);
    }
  });
}

// === screenshots

const SHOTS_SHOWN = 24;
const pictures = new Map();

const shots = {
  refresh: gently(async () => {
    const found = await get('api/screenshots', { limit: SHOTS_SHOWN });
    const list = byId('screenshots');
    const have = new Map([...list.children].map((item) => [item.dataset.offset, item]));
    const wanted = found.screenshots.map((event) => have.get(String(event.offset)) ?? shotItem(event));
    list.replaceChildren(...wanted);
    const kept = new Set(found.screenshots.map((event) => event.offset));
    for (const [offset, url] of pictures) {
      if (!kept.has(offset)) {
        URL.revokeObjectURL(url);
        pictures.delete(offset);
      }
    }
    put(byId('screenshots-note'), wanted.length ? '' : 'No screenshots yet.');
  }, 'screenshots-note'),
};

function shotItem(event) {
  const user = userOf(event) ?? 'unknown user';
  const picture = el('span', { class: 'picture' });
  const button = el('button', { type: 'button', class: 'shot', onclick: () => openShot(event) },
    picture,
    el('span', { class: 'who' }, bdi(user, { class: 'clip' })),
    el('span', { class: 'quiet small' }, bdi(event.appName ?? event.appId ?? '–', { class: 'clip' }), moment(event.receivedUnixMs)));
  const error = event.screenshot.error;
  if (error) {
    attribute(picture, 'data-state', 'bad');
    picture.append(el('span', {}, 'No image: ', bdi(error)));
  } else {
    pictureOf(event).then((url) => picture.replaceChildren(el('img', { src: url, alt: `Screenshot of ${visible(user)}` })), (failed) => {
      attribute(picture, 'data-state', 'bad');
      put(picture, failed.message);
    });
  }
  return el('li', { 'data-offset': event.offset }, button);
}

async function pictureOf(event) {
  if (!pictures.has(event.offset)) pictures.set(event.offset, await image(`api/screenshots/${event.offset}/image`));
  return pictures.get(event.offset);
}

async function openShot(event) {
  put(byId('shot-title'), visible(userOf(event) ?? 'Screenshot'));
  byId('shot-fields').replaceChildren(...fieldsOf(event));
  const picture = byId('shot-image');
  picture.hidden = true;
  byId('shot').showModal();
  if (event.screenshot.error) return;
  try {
    picture.src = await pictureOf(event);
    picture.alt = `Screenshot of ${visible(userOf(event) ?? 'unknown user')}`;
    picture.hidden = false;
  } catch {
    // The thumbnail says why.
  }
}

// === rejected datagrams

const refreshRejected = gently(async () => {
  const { quarantine } = await get('api/quarantine', { limit: 100 });
  byId('rejected').tBodies[0].replaceChildren(...quarantine.map((of) => el('tr', {},
    cell('Time', moment(of.time)),
    cell('Source', bdi(of.source)),
    cell('Reason', bdi(of.reason)),
    cell('Size', bytes(of.bytes)),
    cell('First bytes', firstBytes(of)))));
  put(byId('rejected-note'), quarantine.length ? `The newest ${count(quarantine.length)} rejected datagrams` : 'No datagrams were rejected for their content. Datagrams that were rejected for their source, size or rate are counted, not stored.');
}, 'rejected-note');

function firstBytes(of) {
  const button = opener([bdi(of.text.slice(0, 120), { class: 'clip mono' })], () => button.closest('tr'), () => [longText('Text', visible(of.text)), longText('Hexadecimal', of.hex)]);
  return button;
}

// === dead letters

const refreshLetters = gently(async () => {
  const destination = byId('letters-filter').elements.destination.value;
  const { deadLetters } = await get('api/dead-letters', { limit: 100, destination });
  byId('letters').tBodies[0].replaceChildren(...deadLetters.map(letterRow));
  const has = deadLetters.length > 0;
  put(byId('letters-note'), has ? `The newest ${count(deadLetters.length)} dead letters` : 'No dead letters.');
  for (const id of ['letters-retry', 'letters-drop']) byId(id).disabled = !destination || !has;
}, 'letters-note');

function letterRow(letter) {
  const event = letter.event;
  const words = event ? `${userOf(event) ?? 'no user'}: ${event.command ?? event.type}` : `unreadable record of ${bytes(letter.recordBytes)}`;
  const about = opener([bdi(words, { class: 'clip' })], () => about.closest('tr'), () => [
    fieldList(el('dt', {}, 'id'), el('dd', {}, letter.id), el('dt', {}, 'offset'), el('dd', {}, `${letter.stream} ${letter.offset}`), el('dt', {}, 'reason'), el('dd', {}, bdi(letter.reason)), ...(event ? fieldsOf(event) : []))]);
  const order = (verb) => act(`api/dead-letters/${letter.id}/${verb}`, undefined, 'letters-note', refreshLetters);
  return el('tr', { 'data-id': letter.id },
    cell('Time', moment(letter.time)),
    cell('Destination', called(letter.destination)),
    cell('Reason', bdi(letter.reason, { class: 'clip' })),
    cell('Event', about),
    cell('Action', el('span', { class: 'row' },
      el('button', { type: 'button', class: 'plain', onclick: () => order('retry') }, 'Retry', el('span', { class: 'hidden' }, ` ${words}`)),
      el('button', { type: 'button', class: 'plain danger', onclick: async () => (await sure('Drop this dead letter?', 'The dead letter is deleted permanently. The journal keeps the event until its retention ends.', 'Drop')) && order('drop') }, 'Drop', el('span', { class: 'hidden' }, ` ${words}`)))));
}

const OUTCOMES = { delivered: () => 'Delivered.', refused: (of) => `Rejected again: ${of.reason}`, notNow: (of) => `The destination is not available: ${of.reason}`, waiting: () => 'The retry is waiting for the destination.' };

async function act(path, body, note, refresh) {
  try {
    const answer = await post(path, body);
    await refresh();
    const words = OUTCOMES[answer.outcome]?.(answer) ?? (answer.job ? 'Started. The progress is shown below.' : answer.dropped != null ? `${count(answer.dropped)} dropped.` : 'Done.');
    put(byId(note), visible(words));
  } catch (error) {
    put(byId(note), visible(`Failed: ${error.message}`));
  }
}

export function startLetters() {
  const form = byId('letters-filter');
  form.addEventListener('change', refreshLetters);
  form.addEventListener('submit', (event) => event.preventDefault());
  const destination = () => form.elements.destination.value;
  byId('letters-retry').addEventListener('click', () => act('api/dead-letters/retry', { destination: destination() }, 'letters-note', refreshLetters));
  byId('letters-drop').addEventListener('click', async () => {
    const all = `All dead letters of ${called(destination())} are deleted permanently.`;
    if (await sure('Drop all dead letters?', all, 'Drop all')) act('api/dead-letters/drop', { destination: destination() }, 'letters-note', refreshLetters);
  });
  const replay = byId('replay');
  replay.addEventListener('submit', (event) => {
    event.preventDefault();
    const { destination: to, from, to: until } = replay.elements;
    const order = { destination: to.value, from: new Date(from.value).getTime() };
    if (until.value) order.to = new Date(until.value).getTime();
    act('api/replay', order, 'replay-note', refreshLetters);
  });
}

function showJobs(state) {
  const list = byId('jobs');
  const shape = state.jobs.map((job) => `${job.id}:${job.phase}`).join();
  if (list.dataset.shape !== shape) {
    list.dataset.shape = shape;
    list.replaceChildren(...state.jobs.map((job) => {
      const progress = bar(`${job.kind} to ${called(job.destination)}`);
      const words = el('span', {});
      const stop = job.phase === 'running' && el('button', { type: 'button', class: 'plain', onclick: () => act('api/replay/stop', { destination: job.destination }, 'replay-note', refreshLetters) }, 'Stop');
      const item = el('li', { 'data-phase': job.phase }, el('strong', {}, `${job.kind === 'replay' ? 'Replay' : 'Retry'} to ${called(job.destination)}`), progress, words, stop || null);
      return Object.assign(item, { progress, words });
    }));
  }
  for (const [at, job] of state.jobs.entries()) {
    const item = list.children[at];
    item.progress.show(job.done / Math.max(1, job.total), `${count(job.done)} of ${count(job.total)}`);
    attribute(item.progress, 'data-state', job.phase === 'failed' ? 'bad' : 'ok');
    const ends = { running: 'running', done: 'done', stopped: 'stopped', failed: 'failed' }[job.phase];
    put(item.words, visible(`${ends}: ${count(job.done)} of ${count(job.total)}, ${count(job.delivered)} delivered, ${count(job.refused)} rejected${job.trouble ? ` (${job.trouble})` : ''}`));
  }
}

function sure(title, text, yes) {
  const dialog = byId('sure');
  put(byId('sure-title'), title);
  put(byId('sure-text'), text);
  put(byId('sure-yes'), yes);
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true }));
}

// === actors

function showActors(state) {
  const body = byId('actors').tBodies[0];
  const rows = new Map([...body.rows].map((row) => [row.dataset.actor, row]));
  const names = Object.keys(state.actors).sort();
  if (names.join() !== [...rows.keys()].join()) {
    body.replaceChildren(...names.map((name) => {
      const parts = { received: cell('Received'), sent: cell('Sent'), waits: bar('Mailbox'), none: el('span', { class: 'quiet' }, 'no mailbox'), rejected: cell('Rejected'), restarts: cell('Restarts') };
      const row = el('tr', { 'data-actor': name }, el('th', { scope: 'row' }, name), parts.received, parts.sent, cell('Mailbox', parts.waits, parts.none), parts.rejected, parts.restarts);
      rows.set(name, row);
      return Object.assign(row, { parts });
    }));
  }
  for (const name of names) {
    const { parts } = rows.get(name);
    const actor = state.actors[name];
    put(parts.received, count(actor.received));
    put(parts.sent, count(actor.sent));
    put(parts.restarts, count(actor.restarts));
    attribute(parts.restarts, 'data-state', actor.restarts ? 'warn' : null);
    put(parts.rejected, Object.entries(actor.rejected).map(([why, number]) => `${why} ${count(number)}`).join(', ') || '–');
    parts.waits.hidden = !actor.mailbox;
    parts.none.hidden = Boolean(actor.mailbox);
    if (actor.mailbox) parts.waits.show(actor.mailbox.depth / Math.max(1, actor.mailbox.bound), `${count(actor.mailbox.depth)} of at most ${count(actor.mailbox.bound)}`);
  }
}
