// The effective configuration on a page of its own.

import { get } from './api.js';
import { byId, put } from './dom.js';
import { startSettings } from './settings.js';

const refresh = startSettings();
refresh();
get('api/configuration').then((all) => put(byId('version'), all.version), () => {});
