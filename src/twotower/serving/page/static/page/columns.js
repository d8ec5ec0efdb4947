// What columns are called, and how their values are shown.

import { element, foreign } from './dom.js';

const LONGEST = 140;
const MOST_ENTRIES = 8;
const TITLE = /(^|[_. ])(title|name|label|headline)$/i;

export const isNumber = (type) => /^(U?Int|Float|Decimal)/.test(type);
export const isList = (type) => /^(List|Array)/.test(type);
export const isInteger = (type) => /^U?Int/.test(type);

/** A value as its column holds it, from the text of a field or of the address; what is not such a value stays text. */
export function valueOf(text, type) {
  const inner = isList(type) ? type.slice(type.indexOf('(') + 1) : type;
  if (isNumber(inner) && text.trim() !== '' && Number.isFinite(Number(text))) return Number(text);
  if (inner.startsWith('Boolean') && (text === 'true' || text === 'false')) return text === 'true';
  return text;
}

/** How columns are called: without what all their names begin with, and with spaces. */
export function namer(names) {
  let shared = names.length > 1 ? names[0] : '';
  for (const name of names) while (!name.startsWith(shared)) shared = shared.slice(0, -1);
  shared = shared.slice(0, Math.max(shared.lastIndexOf('_'), shared.lastIndexOf('.')) + 1);
  return (name) => (name.startsWith(shared) && name.length > shared.length ? name.slice(shared.length) : name).replaceAll('_', ' ');
}

const plain = new Intl.NumberFormat('en', { maximumFractionDigits: 2, useGrouping: 'min2' });

export function count(number) {
  return new Intl.NumberFormat('en').format(number);
}

export function figure(number, digits = 2) {
  if (number === null) return 'no number';
  return number.toFixed(digits).replace('-', '\u2212');
}

function shown(value) {
  if (Array.isArray(value)) return value.slice(0, MOST_ENTRIES).map(shown).join(', ') + (value.length > MOST_ENTRIES ? ', …' : '');
  if (typeof value === 'number') return plain.format(value).replace('-', '\u2212');
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

/** What is known of items, and how they are shown. */
export class Shelf {
  constructor(model) {
    this.columns = model.columns;
    this.label = namer(model.columns.map((column) => column.name));
    this.known = new Map();
    const titles = model.columns.filter((column) => column.type === 'String' && TITLE.test(column.name));
    this.titleColumn = TITLE.test(model.item_column) ? null : (titles[0]?.name ?? null);
    this.names = model.columns.map((column) => column.name);
    this.order = model.columns
      .filter((column) => column.name !== this.titleColumn && !/^(List|Array)\((Float|U?Int)/.test(column.type))
      .sort((a, b) => isNumber(a.type) - isNumber(b.type));
  }

  keep(items) {
    for (const item of items) if (item.columns) this.known.set(String(item.id), item.columns);
  }

  columnsOf(id) {
    return this.known.get(String(id)) ?? null;
  }

  title(id) {
    const name = this.titleColumn && this.columnsOf(id)?.[this.titleColumn];
    return String(name || id);
  }

  /** The title, and below it the columns. */
  describe(id) {
    return [foreign(this.title(id), { class: 'title' }), this.details(id)];
  }

  details(id) {
    const columns = this.columnsOf(id) ?? {};
    const parts = [];
    if (this.titleColumn && this.title(id) !== String(id)) parts.push(foreign(id));
    for (const { name, type } of this.order) {
      const value = columns[name];
      if (value === null || value === undefined || value === '' || (Array.isArray(value) && !value.length)) continue;
      const label = this.label(name);
      if ((isNumber(type) && !/year/i.test(name)) || type.startsWith('Boolean')) parts.push(element('span', {}, `${label} ${shown(value)}`));
      else parts.push(foreign(shown(value), { title: label }));
    }
    const line = element('span', { class: 'details' });
    parts.forEach((part, place) => line.append(...(place ? ['\u00a0· ', part] : [part])));
    return line;
  }
}
