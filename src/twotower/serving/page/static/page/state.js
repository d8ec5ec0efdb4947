// What is asked, and how the address says it, so that it can be sent to somebody and gone back to.

import { idOf } from './api.js';
import { valueOf } from './columns.js';

export const MODES = ['user', 'features', 'history'];
export const NOTHING = { mode: 'user', user: null, features: {}, history: [], added: [], removed: [], where: {}, k: 10, seen: false };

/** The address of a state; what is as it is at first is left out. */
export function toHash(state) {
  const said = new URLSearchParams();
  if (state.mode !== 'user') said.set('mode', state.mode);
  if (state.mode === 'user' && state.user !== null) {
    said.set('user', state.user);
    for (const id of state.added) said.append('add', id);
    for (const id of state.removed) said.append('remove', id);
  }
  if (state.mode === 'features') {
    for (const [name, value] of Object.entries(state.features)) for (const each of [value].flat()) said.append(`f:${name}`, each);
  }
  if (state.mode !== 'user') for (const id of state.history) said.append('item', id);
  for (const [name, wish] of Object.entries(state.where)) {
    if (Array.isArray(wish)) for (const each of wish) said.append(`is:${name}`, each);
    else for (const [bound, value] of Object.entries(wish)) said.append(`${bound}:${name}`, value);
  }
  if (state.k !== NOTHING.k) said.set('k', state.k);
  if (state.seen) said.set('seen', '1');
  return said.toString();
}

/** The state that an address says; what it does not say is as at first. Ids that can't be are left out. */
export function fromHash(hash, model) {
  const state = structuredClone(NOTHING);
  const types = (columns) => new Map(columns.map((column) => [column.name, column.type]));
  const [features, columns] = [types(model.features), types(model.columns)];
  const id = (text, kind) => {
    try {
      return [idOf(text, kind)];
    } catch {
      return [];
    }
  };
  for (const [key, text] of new URLSearchParams(hash.replace(/^#/, ''))) {
    const [kind, name] = key.includes(':') ? [key.slice(0, key.indexOf(':')), key.slice(key.indexOf(':') + 1)] : [key, ''];
    if (key === 'mode' && MODES.includes(text)) state.mode = text;
    else if (key === 'user') [state.user = null] = id(text, model.user_ids);
    else if (key === 'add') state.added.push(...id(text, model.item_ids));
    else if (key === 'remove') state.removed.push(...id(text, model.item_ids));
    else if (key === 'item') state.history.push(...id(text, model.item_ids));
    else if (key === 'k' && Number.isInteger(Number(text)) && Number(text) > 0) state.k = Number(text);
    else if (key === 'seen') state.seen = text === '1';
    else if (kind === 'f' && name) {
      const [type, value] = [features.get(name) ?? 'String', valueOf(text, features.get(name) ?? 'String')];
      state.features[name] = type.startsWith('List') ? [...(state.features[name] ?? []), value] : value;
    } else if (kind === 'is' && name) state.where[name] = [...(state.where[name] ?? []), valueOf(text, columns.get(name) ?? 'String')];
    else if ((kind === 'min' || kind === 'max') && name) {
      state.where[name] = { ...state.where[name], [kind]: valueOf(text, columns.get(name) ?? 'String') };
    }
  }
  return state;
}

const among = (ids) => {
  const keys = new Set(ids.map(String));
  return (id) => keys.has(String(id));
};

/** The history that the answer is from, the most recent last; of a known user, with what was added and without what was removed. */
export function historyOf(state, stored) {
  if (state.mode !== 'user') return state.history;
  if (state.user === null) return [];
  const gone = among(state.removed);
  return [...stored.filter((id) => !gone(id)), ...state.added];
}

export const isEdited = (state) => state.mode === 'user' && state.added.length + state.removed.length > 0;

/** Who asks, as the service takes it. */
export function queryOf(state, stored, most) {
  if (state.mode === 'history') return { history: state.history.slice(-most) };
  if (state.mode === 'features') return state.history.length ? { features: state.features, history: state.history.slice(-most) } : { features: state.features };
  if (state.user === null) return { features: {} };
  return isEdited(state) ? { user: state.user, history: historyOf(state, stored).slice(-most) } : { user: state.user };
}

/** What the model reads of a history and this page can't say; empty where there is nothing. */
export function unsaid(query, model) {
  if (!query.history?.length || !model.events.includes('time')) return '';
  return `history: this model reads when each event was, which this page does not know. Choose a known user with the history that is stored, or ask the service with {"item": .., "time": ..} for each.`;
}

/** The state with an item added to the history. */
export function withItem(state, id) {
  const is = (each) => String(each) === String(id);
  if (state.mode === 'user' && state.user !== null) {
    if (state.removed.some(is)) return { ...state, removed: state.removed.filter((each) => !is(each)) };
    return { ...state, added: [...state.added.filter((each) => !is(each)), id] };
  }
  return { ...state, mode: state.mode === 'user' ? 'history' : state.mode, history: [...state.history.filter((each) => !is(each)), id] };
}

/** The state without an item in the history. */
export function withoutItem(state, id) {
  const not = (each) => String(each) !== String(id);
  if (state.mode !== 'user') return { ...state, history: state.history.filter(not) };
  if (!state.added.every(not)) return { ...state, added: state.added.filter(not) };
  return { ...state, removed: [...state.removed, id] };
}
