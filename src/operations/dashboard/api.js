// Talking to the server: the token, questions, orders, and the stream of states.

import { byId, put } from './dom.js';

const KEY = 'butler-sos-token';
let asking = null;

function headers(more = {}) {
  const token = sessionStorage.getItem(KEY);
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

/** Asks for the token until the server takes one; everybody who needs it waits for the same dialog. */
function askForToken(wasWrong) {
  asking ??= new Promise((resolve) => {
    const dialog = byId('token');
    const form = dialog.querySelector('form');
    put(byId('token-note'), wasWrong ? 'The server rejected this token.' : '');
    const refuseToClose = (event) => event.preventDefault();
    dialog.addEventListener('cancel', refuseToClose);
    form.addEventListener('submit', () => {
      sessionStorage.setItem(KEY, form.elements.token.value.trim());
      form.reset();
      dialog.removeEventListener('cancel', refuseToClose);
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

async function request(path, options = {}) {
  for (;;) {
    const sent = sessionStorage.getItem(KEY);
    const response = await fetch(path, { ...options, headers: headers(options.headers), cache: 'no-store', credentials: 'omit' });
    if (response.status !== 401) return response;
    // Another question may have got the right one meanwhile.
    if (sent === sessionStorage.getItem(KEY)) await askForToken(sent !== null);
  }
}

async function complaint(response) {
  const words = await response.json().then((body) => body.error, () => null);
  return new Error(words || `the server returned status ${response.status}`);
}

/** The JSON at `path`. */
export async function get(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== '' && value != null));
  const response = await request(query.size ? `${path}?${query}` : path);
  if (!response.ok) throw await complaint(response);
  return response.json();
}

/** The text at `path`, whole. */
export async function text(path) {
  const response = await request(path);
  if (!response.ok) throw await complaint(response);
  return response.text();
}

/** An image as something that an `img` can show; let it go with `URL.revokeObjectURL`. */
export async function image(path) {
  const response = await request(path);
  if (!response.ok) throw await complaint(response);
  return URL.createObjectURL(await response.blob());
}

/** Gives an order. */
export async function post(path, body) {
  const response = await request(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Butler-SOS': '1' },
    body: JSON.stringify(body ?? {}),
  });
  if (!response.ok) throw await complaint(response);
  return response.json();
}

const SILENCE_MS = 15000;
const PAUSE_MS_MAX = 10000;

/** Hands every state to `take` for ever; says to `heard` whether there is a connection. */
export async function live(take, heard) {
  let pause = 500;
  for (;;) {
    try {
      const control = new AbortController();
      // No page of another origin may send this header: browsers that do not say who asks are known by it.
      const response = await request('api/live', { signal: control.signal, headers: { 'X-Butler-SOS': '1' } });
      if (!response.ok) throw await complaint(response);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = '';
      for (;;) {
        const silence = setTimeout(() => control.abort(), SILENCE_MS);
        const { value, done } = await reader.read().finally(() => clearTimeout(silence));
        if (done) throw new Error('the server closed the connection');
        text += value;
        const blocks = text.split('\n\n');
        text = blocks.pop();
        for (const block of blocks) {
          const line = block.split('\n').find((part) => part.startsWith('data: '));
          if (!line) continue;
          heard(true);
          pause = 500;
          take(JSON.parse(line.slice(6)));
        }
      }
    } catch (error) {
      heard(false, error.message);
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, PAUSE_MS_MAX);
  }
}
