// Building the page out of text. Whatever comes from outside goes through `text` or `bdi`, and only ever becomes text.

const SVG = 'http://www.w3.org/2000/svg';

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** An element with attributes (`class`, `data-…`, `aria-…`), listeners (`onclick`) and children. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for drawings. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Sets text where it has changed, so that nothing is read out or selected anew without need. */
export function put(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

export function attribute(element, name, value) {
  const wanted = value == null ? null : String(value);
  if (wanted === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== wanted) element.setAttribute(name, wanted);
}

// Characters that are not seen, or that turn the direction of what follows.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu;

/** Text from outside with its unseen characters made visible. */
export function visible(text) {
  return String(text).replace(UNSEEN, (unseen) => `[U+${unseen.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}]`);
}

/** Text from outside, kept from touching the order of what stands around it. */
export function bdi(text, attributes = {}) {
  return el('bdi', attributes, visible(text));
}

// === figures

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

export function count(number) {
  return number < 100000 ? whole.format(number) : compact.format(number);
}

export function rate(perSecond) {
  if (perSecond > 0 && perSecond < 10) return perSecond.toFixed(1);
  return count(Math.round(perSecond));
}

export function bytes(number) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${number >= 100 || unit === 0 ? Math.round(number) : number.toFixed(1)} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds / 3600) % 24} h`;
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });

/** A moment as an element: the time today, the day with it otherwise. */
export function moment(unixMs) {
  const at = new Date(unixMs);
  if (Number.isNaN(at.getTime())) return el('span', {}, '–');
  const today = at.toDateString() === new Date().toDateString();
  const words = today ? clock.format(at) : `${day.format(at)} ${clock.format(at)}`;
  return el('time', { datetime: at.toISOString(), title: at.toISOString() }, words);
}

/** The last minute of a figure as a line. */
export function sparkline() {
  const area = svg('path', { class: 'area' });
  const line = svg('path', { class: 'line' });
  const drawing = svg('svg', { class: 'spark', viewBox: '0 0 100 24', preserveAspectRatio: 'none', 'aria-hidden': 'true', focusable: 'false' }, area, line);
  drawing.show = (values) => {
    const top = Math.max(1, ...values);
    const step = 100 / Math.max(1, SPARK_SECONDS - 1);
    const start = 100 - (values.length - 1) * step;
    const points = values.map((value, at) => `${(start + at * step).toFixed(2)} ${(23 - (value / top) * 20).toFixed(2)}`);
    line.setAttribute('d', points.length > 1 ? `M${points.join('L')}` : '');
    area.setAttribute('d', points.length > 1 ? `M${points.join('L')}L100 24L${start.toFixed(2)} 24Z` : '');
  };
  return drawing;
}

export const SPARK_SECONDS = 60;

/** How full something is; `words` say it to those who do not see the bar. */
export function bar(label) {
  const inner = el('span', { class: 'fill' });
  const element = el('span', { class: 'bar', role: 'meter', 'aria-label': label, 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': 0 }, inner);
  element.show = (part, words) => {
    const percent = Math.max(0, Math.min(100, part * 100));
    inner.style.width = `${percent}%`;
    attribute(element, 'aria-valuenow', Math.round(percent));
    attribute(element, 'aria-valuetext', words);
    attribute(element, 'title', words);
    attribute(element, 'data-state', percent >= 80 ? 'bad' : percent >= 50 ? 'warn' : 'ok');
  };
  return element;
}
