// The dashboard: takes a state each second and shows it.

import { live } from './api.js';
import { attribute, bytes, byId, count, duration, el, put, rate, sparkline, visible } from './dom.js';
import * as flow from './flow.js';
import * as lists from './lists.js';
import { Rates } from './rates.js';
import { startSettings } from './settings.js';

const rates = new Rates();

// === headline

function sentence(state) {
  const inward = rate(rates.now('received'));
  const names = Object.keys(state.destinations).length;
  const where = `${names} ${names === 1 ? 'destination' : 'destinations'}`;
  return `${inward} incoming events/s, ${where}`;
}

function showHeadline(state) {
  const [worst] = state.problems;
  const headline = byId('headline');
  attribute(headline, 'data-state', !worst || worst.severity === 'notice' ? 'ok' : worst.severity === 'error' ? 'bad' : 'warn');
  const wrong = state.problems.filter((of) => of.severity !== 'notice').length;
  put(byId('headline-title'), wrong === 0 ? 'No problems' : wrong === 1 ? '1 problem' : `${wrong} problems`);
  // Figures that change each second would be read out each second: they are in the tiles.
  const text = state.reasons.length ? state.reasons.join('; ') : wrong ? 'Stored events are safe.' : 'All events are stored and delivered.';
  put(byId('headline-text'), visible(text));
  attribute(byId('headline-text'), 'title', sentence(state));
  showProblems(state.problems);
}

function showProblems(problems) {
  const list = byId('problems');
  const rows = new Map([...list.children].map((item) => [item.dataset.key, item]));
  const wanted = problems.map((of) => {
    const key = `${of.symptom} ${of.place} ${of.symptom === 'shed' || of.symptom === 'rejected' ? of.what.replace(/\d+/g, '') : ''}`;
    const item = rows.get(key) ?? problemItem(key);
    attribute(item, 'data-severity', of.severity);
    put(item.what, visible(of.what));
    put(item.advice, visible(of.advice));
    return item;
  });
  if (wanted.length !== list.children.length || wanted.some((item, at) => list.children[at] !== item)) list.replaceChildren(...wanted);
}

function problemItem(key) {
  const what = el('p', { class: 'what' });
  const advice = el('p', { class: 'advice' });
  return Object.assign(el('li', { 'data-key': key }, what, advice), { what, advice });
}

// === tiles

const tiles = new Map();

function tile(key, label, hasLine) {
  const value = el('dd', { class: 'value' });
  const more = el('dd', { class: 'quiet small' });
  const spark = hasLine ? sparkline() : null;
  byId('tiles').append(el('div', { class: 'tile', 'data-tile': key }, el('dt', {}, label), value, more, spark && el('dd', { class: 'line' }, spark)));
  tiles.set(key, { value, more, spark, root: byId('tiles').lastChild });
}

function startTiles() {
  tile('received', 'Incoming', true);
  tile('delivered', 'Delivered', true);
  tile('waiting', 'Waiting');
  tile('lost', 'Lost');
  tile('letters', 'Dead letters');
}

function showTiles(state) {
  const sum = (numbers) => numbers.reduce((all, number) => all + number, 0);
  const destinations = Object.values(state.destinations);
  const set = (key, value, more, level) => {
    const parts = tiles.get(key);
    put(parts.value, value);
    put(parts.more, more);
    attribute(parts.root, 'data-state', level ?? 'ok');
    parts.spark?.show(rates.minute(key));
  };
  const received = sum(Object.values(state.intakes).map((of) => of.received));
  const refused = sum(Object.values(state.intakes).flatMap((of) => Object.values(of.rejected)));
  const lost = sum(Object.values(state.intakes).map((of) => of.droppedByKernel + sum(Object.values(of.shed))));
  set('received', `${rate(rates.now('received'))}/s`, `${count(received)} since start, ${count(refused)} rejected`);
  set('delivered', `${rate(rates.now('delivered'))}/s`, `${count(sum(destinations.map((of) => of.deliveredEvents)))} to ${destinations.length} destinations`);
  const waiting = sum(destinations.map((of) => of.lagEvents));
  const oldest = Math.max(0, ...destinations.map((of) => of.lagSeconds));
  const isLate = state.problems.some((of) => of.symptom === 'destination-down' || of.symptom === 'lag-growing');
  set('waiting', count(waiting), waiting ? `oldest: ${duration(oldest)}` : 'all destinations are up to date', isLate ? 'warn' : 'ok');
  const loses = state.problems.some((of) => of.symptom === 'shed' || of.symptom === 'kernel-drops' || of.symptom === 'missed');
  set('lost', count(lost), loses ? 'in the last 5 minutes' : lost ? 'since start, none in the last 5 minutes' : 'since start', loses ? 'bad' : 'ok');
  const letters = sum(destinations.map((of) => of.deadLettered));
  set('letters', count(letters), letters ? 'since start' : 'none since start', state.problems.some((of) => of.symptom === 'dead-letters') ? 'warn' : 'ok');
}

// === frame

function showFrame(state) {
  put(byId('version'), state.version);
  put(byId('uptime'), duration(state.uptimeSeconds));
  put(byId('memory'), bytes(state.process.residentBytes));
  put(byId('cpu'), `${(rates.now('cpu') * 100).toFixed(0)} %`);
  put(byId('listening'), state.listening.map((of) => `${of.service} on ${of.address}`).join(', '));
  const wrong = state.problems.filter((of) => of.severity !== 'notice').length;
  document.title = wrong ? `(${wrong}) butler-sos` : 'butler-sos';
}

function heard(isConnected, why) {
  const pill = byId('connection');
  attribute(pill, 'data-state', isConnected ? 'ok' : 'bad');
  put(pill, isConnected ? 'live' : 'no connection');
  attribute(pill, 'title', why ?? null);
  attribute(document.body, 'data-stale', isConnected ? null : '');
  if (!isConnected) {
    attribute(byId('headline'), 'data-state', 'bad');
    put(byId('headline-title'), 'No connection to the server');
    put(byId('headline-text'), 'The page shows the last known state. Check that the process is running: systemctl status butler-sos');
  }
}

function take(state) {
  rates.add(state);
  showFrame(state);
  showHeadline(state);
  showTiles(state);
  flow.show(state, rates);
  lists.show(state);
}

startTiles();
startSettings();
lists.startTabs();
lists.startEvents();
lists.startLetters();
live(take, heard);
