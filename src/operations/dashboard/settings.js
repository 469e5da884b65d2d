// The effective configuration as a list that can be searched.

import { get } from './api.js';
import { bdi, byId, count, el, put } from './dom.js';

let settings = null;

export async function refreshSettings() {
  try {
    settings ??= (await get('api/configuration')).settings;
    showSettings();
  } catch (error) {
    put(byId('settings-note'), `Cannot load the configuration: ${error.message}`);
  }
}

function showSettings() {
  const form = byId('settings-filter').elements;
  const text = form.text.value.trim().toLowerCase();
  const shown = settings.filter((of) => (!form.changed.checked || of.origin !== 'default') && `${of.path} ${of.value}`.toLowerCase().includes(text));
  byId('settings').tBodies[0].replaceChildren(...shown.map((of) => el('tr', {},
    el('th', { scope: 'row', class: 'mono' }, bdi(of.path)),
    el('td', { 'data-label': 'Value' }, bdi(of.value, { class: 'mono' })),
    el('td', { 'data-label': 'Source' }, bdi(of.origin, { class: 'quiet' })))));
  put(byId('settings-note'), `${count(shown.length)} of ${count(settings.length)} settings. Secrets are shown as ***.`);
}

export function startSettings() {
  const form = byId('settings-filter');
  form.addEventListener('input', () => settings && showSettings());
  form.addEventListener('submit', (event) => event.preventDefault());
  return refreshSettings;
}
