// What a screen reader is told, beyond where the focus is.

import { byId } from './dom.js';

export function announce(text) {
  byId('said').textContent = text;
}
