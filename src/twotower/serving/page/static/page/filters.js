// Which items may be recommended: values and bounds of the catalogue's columns.

import { isInteger, isNumber, valueOf } from './columns.js';
import { byId, element, foreign, settled, showProblem } from './dom.js';

const WAIT_MS = 250;

/** @param change called with what is other in the state, and whether it is a step to go back from */
export class Filters {
  constructor(change) {
    this.change = change;
    const open = byId('filters-open');
    open.addEventListener('click', () => this.open(byId('filters').hidden));
    this.boundSoon = settled(() => this.change({ where: this.where() }, false), WAIT_MS);
  }

  open(wanted) {
    byId('filters').hidden = !wanted;
    byId('filters-open').setAttribute('aria-expanded', String(wanted));
  }

  build(model, shelf) {
    this.shelf = shelf;
    this.state = null;
    const columns = [...model.columns].sort((a, b) => isNumber(a.type) - isNumber(b.type));
    this.groups = columns.map((column) => this.group(column)).filter(Boolean);
    byId('filters').replaceChildren(...this.groups.map((group) => group.place));
    byId('filters-open').hidden = !this.groups.length;
  }

  group(column) {
    const { name, type, values } = column;
    const legend = element('legend', { title: name }, this.shelf.label(name));
    if (values.length) {
      const boxes = values.map((value) => [value, element('input', { type: 'checkbox', change: () => this.change({ where: this.where() }) })]);
      const text = (value) => (value === true ? 'yes' : value === false ? 'no' : value);
      const chips = boxes.map(([value, box]) => element('label', { class: 'chip' }, box, element('span', {}, foreign(text(value)))));
      return { column, boxes, place: element('fieldset', {}, legend, element('div', { class: 'chips' }, ...chips)) };
    }
    if (!isNumber(type)) return null;
    const bounds = ['min', 'max'].map((bound) => [
      bound,
      element('input', {
        type: 'number',
        step: isInteger(type) ? '1' : 'any',
        placeholder: bound === 'min' ? 'from' : 'to',
        'aria-label': `${this.shelf.label(name)} ${bound === 'min' ? 'from' : 'to'}`,
        input: () => this.boundSoon(),
      }),
    ]);
    const fields = bounds.map(([, input]) => input);
    return { column, bounds, place: element('fieldset', { class: 'bounds' }, legend, element('div', { class: 'range' }, fields[0], '–', fields[1])) };
  }

  /** What the fields say; wishes of the address that no field can show stay. */
  where() {
    const shown = new Set(this.groups.map((group) => group.column.name));
    const found = Object.fromEntries(Object.entries(this.state?.where ?? {}).filter(([name]) => !shown.has(name)));
    for (const { column, boxes, bounds } of this.groups) {
      if (boxes) {
        const values = boxes.filter(([, box]) => box.checked).map(([value]) => value);
        if (values.length) found[column.name] = values;
      } else {
        const given = bounds.filter(([, input]) => input.value !== '').map(([bound, input]) => [bound, valueOf(input.value, column.type)]);
        if (given.length) found[column.name] = Object.fromEntries(given);
      }
    }
    return found;
  }

  show(state) {
    this.state = state;
    for (const { column, boxes, bounds } of this.groups) {
      const wish = state.where[column.name];
      for (const [value, box] of boxes ?? []) box.checked = Array.isArray(wish) && wish.map(String).includes(String(value));
      for (const [bound, input] of bounds ?? []) {
        const text = String(wish?.[bound] ?? '');
        if (document.activeElement !== input && input.value !== text) input.value = text;
      }
    }
    this.showWishes(state);
  }

  /** Each wish by itself, to be taken back. */
  showWishes(state) {
    const wishes = Object.entries(state.where).flatMap(([name, wish]) =>
      Array.isArray(wish)
        ? wish.map((value) => ({ name, value, text: [foreign(value)], without: wish.filter((each) => each !== value) }))
        : Object.entries(wish).map(([bound, value]) => {
            const { [bound]: _, ...without } = wish;
            return { name, value, text: [`${bound === 'min' ? '≥' : '≤'} `, foreign(value)], without };
          }));
    const chips = wishes.map(({ name, value, text, without }) => {
      const take = () => {
        const { [name]: _, ...others } = state.where;
        this.change({ where: (Array.isArray(without) ? without.length : Object.keys(without).length) ? { ...state.where, [name]: without } : others });
        byId('filters-open').focus();
      };
      const label = `${this.shelf.label(name)} `;
      return element('li', {}, element('button', { type: 'button', class: 'wish', 'aria-label': `Without the filter ${label}${value}`, click: take },
        element('span', { class: 'soft' }, label), ...text, element('span', { class: 'cross', 'aria-hidden': 'true' }, '×')));
    });
    if (chips.length > 1) {
      const clear = () => {
        this.change({ where: {} });
        byId('filters-open').focus();
      };
      chips.push(element('li', {}, element('button', { type: 'button', class: 'plain', click: clear }, 'Clear all')));
    }
    byId('wishes').replaceChildren(...chips);
    const count = byId('filters-count');
    count.hidden = !wishes.length;
    count.textContent = wishes.length;
  }

  showProblem(problem) {
    showProblem(byId('filters-problem'), problem);
  }
}
