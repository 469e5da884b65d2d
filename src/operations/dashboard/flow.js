// The drawing: intakes, parser, journal, destinations, and the lines between them.

import { attribute, bar, bytes, byId, count, duration, el, put, rate, sparkline, svg, visible } from './dom.js';

/** How the events of an intake arrive. */
const TRANSPORTS = { user_events: 'UDP', audit_events: 'HTTP' };

/** Streams, intakes and destinations, in the order in which they are shown, by what people call them. */
let labels = new Map();

/** What people call an actor or a stream. */
export function called(name) {
  return labels.get(name) ?? name;
}

const position = (name) => [...labels.keys()].indexOf(name);

const flow = byId('flow');
const wires = svg('svg', { class: 'wires', 'aria-hidden': 'true', focusable: 'false' });
let drawn = '';
let nodes = new Map();
let edges = [];

/** Shows a state. `rates` gives events per second and the last minute by key. */
export function show(state, rates) {
  labels = new Map(state.labels);
  const plan = planOf(state);
  const shape = JSON.stringify(plan);
  if (shape !== drawn) {
    drawn = shape;
    build(plan);
  }
  const down = new Set(state.problems.filter((of) => of.severity === 'error').map((of) => of.place));
  for (const name of plan.intakes) showIntake(state, rates, name, down);
  if (plan.parser) showParser(state, rates);
  showJournal(state, rates, plan.streams);
  for (const name of plan.destinations) showDestination(state, rates, name);
  for (const edge of edges) {
    const perSecond = rates.now(edge.rate);
    const flows = perSecond > 0 ? (perSecond > 1000 ? 'fast' : perSecond > 20 ? 'steady' : 'slow') : 'none';
    attribute(edge.path, 'data-flows', flows);
    attribute(edge.path, 'data-state', nodes.get(edge.state)?.root.dataset.state ?? 'ok');
  }
}

function planOf(state) {
  const serves = new Set(state.listening.map((of) => of.service));
  const intakes = Object.keys(state.intakes).filter((name) => serves.has(name.replace('_', '-')));
  return {
    intakes: intakes.sort((a, b) => position(a) - position(b)),
    parser: 'user_parser' in state.actors,
    streams: Object.keys(state.journal.streams).filter((name) => isUsed(state, name)).sort((a, b) => position(a) - position(b)),
    reads: Object.fromEntries(Object.entries(state.destinations).map(([name, of]) => [name, of.stream])),
    destinations: Object.keys(state.destinations).sort((a, b) => order(state, a) - order(state, b) || position(a) - position(b)),
  };
}

function isUsed(state, stream) {
  return Object.values(state.destinations).some((of) => of.stream === stream) || state.journal.streams[stream].nextOffset > 0;
}

const order = (state, name) => position(state.destinations[name].stream);

// === building

function node(name, title, subtitle, ...body) {
  const id = `node-${name}`;
  const state = el('span', { class: 'state' });
  const root = el('article', { class: 'node', 'data-node': name, 'data-state': 'ok', 'aria-labelledby': id },
    el('header', {}, el('h3', { id }, title), state),
    subtitle && el('p', { class: 'quiet sub' }, subtitle),
    ...body);
  const parts = { root, state };
  nodes.set(name, parts);
  return parts;
}

function figure(unit) {
  const value = el('span', { class: 'value' }, '0');
  return { value, root: el('p', { class: 'big' }, value, ' ', el('span', { class: 'quiet' }, unit)) };
}

function build(plan) {
  nodes = new Map();
  edges = [];
  const column = (label, children) => el('div', { class: 'column', role: 'group', 'aria-label': label }, ...children);
  // The parser stands beside the user events, so that the audit events' line passes it by.
  const intake = plan.intakes.flatMap((name) => (name === 'user_events' && plan.parser ? [buildIntake(name), buildParser()] : [buildIntake(name)]));
  const columns = [column(plan.parser ? 'Intake and parser' : 'Intake', intake)];
  attribute(columns[0], 'data-parser', plan.parser);
  columns.push(column('Journal', [buildJournal(plan.streams)]));
  columns.push(column('Destinations', plan.destinations.map(buildDestination)));
  attribute(flow, 'data-parser', plan.parser);
  flow.replaceChildren(wires, ...columns);
  for (const name of plan.intakes) {
    const isParsed = name === 'user_events' && plan.parser;
    const row = isParsed ? null : name.replace('_', '-');
    edges.push({ from: name, to: isParsed ? 'user_parser' : 'journal', row, rate: `intake:${name}`, state: name });
  }
  if (plan.parser) edges.push({ from: 'user_parser', to: 'journal', row: 'user-events', rate: 'stored:user_events', state: 'user_parser' });
  for (const name of plan.destinations) {
    edges.push({ from: 'journal', to: name, row: plan.reads[name], rate: `destination:${name}`, state: name });
  }
  for (const edge of edges) edge.path = svg('path', { class: 'wire' });
  wires.replaceChildren(...edges.map((edge) => edge.path));
  drawWires();
}

function buildIntake(name) {
  const big = figure('events/s');
  const spark = sparkline();
  const queue = bar('Mailbox');
  const more = el('p', { class: 'quiet small' });
  const address = el('p', { class: 'quiet sub' });
  const parts = node(name, called(name), null, address, big.root, spark, queue, more);
  return Object.assign(parts, { big: big.value, spark, queue, more, address }).root;
}

function buildParser() {
  const big = figure('stored/s');
  const queue = bar('Mailbox');
  const more = el('p', { class: 'quiet small' });
  const parts = node('user_parser', 'Parser', 'fields, user agent, app name', big.root, queue, more);
  return Object.assign(parts, { big: big.value, queue, more }).root;
}

function buildJournal(streams) {
  const rows = new Map();
  const list = el('dl', { class: 'streams' });
  for (const name of streams) {
    const fill = bar(`${called(name)}: disk usage`);
    const words = el('span', { class: 'small' });
    const perSecond = el('span', { class: 'small figure' });
    const root = el('div', {}, el('dt', {}, called(name), perSecond), el('dd', {}, fill, words));
    list.append(root);
    rows.set(name, { root, fill, words, perSecond });
  }
  const more = el('p', { class: 'quiet small' });
  const parts = node('journal', 'Journal', 'on disk before an event is acknowledged', list, more);
  return Object.assign(parts, { rows, more }).root;
}

function buildDestination(name) {
  const big = figure('events/s');
  const spark = sparkline();
  const more = el('p', { class: 'quiet small' });
  const trouble = el('p', { class: 'trouble small' });
  const stream = el('p', { class: 'quiet sub' });
  const parts = node(name, called(name), null, stream, el('div', { class: 'row' }, big.root, spark), more, trouble);
  return Object.assign(parts, { big: big.value, spark, more, trouble, stream }).root;
}

// === showing

function mark(parts, state, words) {
  attribute(parts.root, 'data-state', state);
  put(parts.state, words);
}

function total(counts) {
  return Object.values(counts).reduce((sum, number) => sum + number, 0);
}

function showQueue(element, mailbox) {
  element.hidden = !mailbox;
  if (mailbox) element.show(mailbox.depth / Math.max(1, mailbox.bound), `${count(mailbox.depth)} of at most ${count(mailbox.bound)}`);
}

function showIntake(state, rates, name, down) {
  const parts = nodes.get(name);
  const intake = state.intakes[name];
  const actor = state.actors[name === 'user_events' ? 'user_parser' : 'audit_http_ingestor'];
  const address = state.listening.find((of) => of.service === name.replace('_', '-'))?.address ?? '';
  put(parts.address, `${TRANSPORTS[name] ?? ''} ${address}`);
  put(parts.big, rate(rates.now(`intake:${name}`)));
  parts.spark.show(rates.minute(`intake:${name}`));
  showQueue(parts.queue, actor?.mailbox);
  const lost = total(intake.shed) + intake.droppedByKernel;
  put(parts.more, `${count(intake.received)} received, ${count(total(intake.rejected))} rejected, ${count(lost)} lost`);
  if (state.draining) mark(parts, 'warn', 'stopped');
  else if (down.has(name)) mark(parts, 'bad', 'losing events');
  else mark(parts, 'ok', 'listening');
}

function showParser(state, rates) {
  const parts = nodes.get('user_parser');
  const actor = state.actors.user_parser;
  put(parts.big, rate(rates.now('stored:user_events')));
  showQueue(parts.queue, actor.mailbox);
  put(parts.more, `${count(actor.received)} batches${restartsOf(actor)}`);
  const isRestarting = state.problems.some((of) => of.symptom === 'restarts' && of.place === 'user_parser');
  mark(parts, isRestarting ? 'warn' : 'ok', isRestarting ? 'restarted' : 'running');
}

function restartsOf(actor) {
  return actor?.restarts ? `, ${count(actor.restarts)} restarts` : '';
}

function showJournal(state, rates, streams) {
  const parts = nodes.get('journal');
  const journal = state.journal;
  for (const name of streams) {
    const stream = journal.streams[name];
    const row = parts.rows.get(name);
    if (!stream || !row) continue;
    row.fill.show(stream.bytes / Math.max(1, stream.bytesMax), `${bytes(stream.bytes)} of ${bytes(stream.bytesMax)}`);
    put(row.words, `${bytes(stream.bytes)} · ${count(stream.nextOffset - stream.firstOffset)} events`);
    put(row.perSecond, `${rate(rates.now(`stream:${name}`))}/s`);
  }
  put(parts.more, `fsync ${(rates.syncSeconds * 1000).toFixed(1)} ms, ${rate(rates.now('syncs'))}/s${restartsOf(state.actors.journal)}`);
  if (!journal.answers) mark(parts, 'bad', 'not responding');
  else if (journal.appendTrouble) mark(parts, 'bad', 'rejecting events');
  else mark(parts, 'ok', 'running');
}

function showDestination(state, rates, name) {
  const parts = nodes.get(name);
  const of = state.destinations[name];
  put(parts.stream, of.stream ? `reads ${called(of.stream).toLowerCase()}` : 'reads no stream yet');
  put(parts.big, rate(rates.now(`destination:${name}`)));
  parts.spark.show(rates.minute(`destination:${name}`));
  const waits = of.lagEvents ? `${count(of.lagEvents)} waiting${of.lagSeconds >= 1 ? `, oldest ${duration(of.lagSeconds)}` : ''}` : 'nothing waiting';
  const letters = of.deadLettered ? `, ${count(of.deadLettered)} dead letters` : '';
  put(parts.more, `${count(of.deliveredEvents)} delivered, ${waits}${letters}${restartsOf(state.actors[name])}`);
  put(parts.trouble, of.up ? '' : visible(of.lastError ?? 'no response yet'));
  const isBehind = state.problems.some((problem) => problem.place === name && problem.symptom === 'lag-growing');
  if (!of.up) mark(parts, 'bad', 'down');
  else if (isBehind) mark(parts, 'warn', 'lagging');
  else if (state.problems.some((problem) => problem.place === name)) mark(parts, 'warn', 'warning');
  else mark(parts, 'ok', 'up');
}

// === lines

function drawWires() {
  const frame = flow.getBoundingClientRect();
  if (frame.width === 0) return;
  attribute(wires, 'viewBox', `0 0 ${frame.width} ${frame.height}`);
  for (const edge of edges) {
    const [from, to] = [edge.from, edge.to].map((name) => nodes.get(name).root.getBoundingClientRect());
    const row = nodes.get('journal').rows.get(edge.row)?.root.getBoundingClientRect();
    const height = (name, card) => (name === 'journal' && row ? row.top + 14 : card.top + Math.min(card.height / 2, 60)) - frame.top;
    const isBeside = to.left >= from.right - 1;
    let d;
    if (isBeside) {
      const [x1, y1] = [from.right - frame.left, height(edge.from, from)];
      const [x2, y2] = [to.left - frame.left, height(edge.to, to)];
      const bend = Math.max(16, (x2 - x1) / 2);
      d = `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
    } else {
      // One below the other: a line down the left margin, where no card is.
      const [x1, y1] = [from.left - frame.left, from.top + 24 - frame.top];
      const [x2, y2] = [to.left - frame.left, to.top + 24 - frame.top];
      d = `M${x1} ${y1}C${x1 - 14} ${y1} ${x1 - 14} ${y1 + 14} ${x1 - 14} ${y1 + 28}L${x2 - 14} ${y2 - 14}C${x2 - 14} ${y2 - 4} ${x2 - 8} ${y2} ${x2} ${y2}`;
    }
    attribute(edge.path, 'd', d);
  }
}

new ResizeObserver(drawWires).observe(flow);
