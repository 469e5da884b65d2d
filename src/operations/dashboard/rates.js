// From counts that only grow to what happens in a second, now and over the last minute.

import { SPARK_SECONDS } from './dom.js';

/** Seconds over which a rate is taken, so that it can be read. */
const WINDOW_SECONDS = 3;

export class Rates {
  #samples = [];
  #minute = new Map();
  syncSeconds = 0;

  /** Takes over a state. */
  add(state) {
    const counts = countsOf(state);
    const last = this.#samples.at(-1);
    // Another process: its counts begin anew.
    if (last && (state.process.startUnixMs !== last.start || state.unixMs <= last.at)) {
      this.#samples = [];
      this.#minute.clear();
    }
    this.#samples.push({ at: state.unixMs, start: state.process.startUnixMs, counts });
    if (this.#samples.length > WINDOW_SECONDS + 1) this.#samples.shift();
    const [first] = this.#samples;
    const syncs = counts.get('syncs') - first.counts.get('syncs');
    if (syncs > 0) this.syncSeconds = (counts.get('sync seconds') - first.counts.get('sync seconds')) / syncs;
    else if (!this.syncSeconds) this.syncSeconds = state.journal.syncs.secondsLast;
    for (const key of counts.keys()) {
      const line = this.#minute.get(key) ?? [];
      line.push(this.now(key));
      if (line.length > SPARK_SECONDS) line.shift();
      this.#minute.set(key, line);
    }
  }

  /** Per second. */
  now(key) {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (!last || first === last) return 0;
    const more = (last.counts.get(key) ?? 0) - (first.counts.get(key) ?? 0);
    return Math.max(0, more / ((last.at - first.at) / 1000));
  }

  /** The last minute, a figure a second. */
  minute(key) {
    return this.#minute.get(key) ?? [];
  }
}

function countsOf(state) {
  const counts = new Map();
  let [received, delivered, lost] = [0, 0, 0];
  for (const [name, intake] of Object.entries(state.intakes)) {
    counts.set(`intake:${name}`, intake.received);
    counts.set(`stored:${name}`, intake.stored);
    received += intake.received;
    lost += intake.droppedByKernel + Object.values(intake.shed).reduce((sum, number) => sum + number, 0);
  }
  for (const [name, of] of Object.entries(state.destinations)) {
    counts.set(`destination:${name}`, of.deliveredEvents + of.redeliveredEvents);
    delivered += of.deliveredEvents;
  }
  for (const [name, stream] of Object.entries(state.journal.streams)) counts.set(`stream:${name}`, stream.nextOffset);
  counts.set('received', received);
  counts.set('delivered', delivered);
  counts.set('lost', lost);
  counts.set('syncs', state.journal.syncs.count);
  counts.set('sync seconds', state.journal.syncs.secondsTotal);
  counts.set('cpu', state.process.cpuSeconds);
  return counts;
}
