// What they liked, and changes to it.

import { announce } from './announce.js';
import { ask } from './api.js';
import { combobox } from './combobox.js';
import { count } from './columns.js';
import { byId, element, showProblem } from './dom.js';

const few = () => (matchMedia('(max-width: 860px)').matches ? 5 : 12);
const OFFERED = 12;

/** @param add, remove called with an item's id; @param reset called to take all changes back */
export class History {
  constructor({ add, remove, reset }) {
    Object.assign(this, { remove, reset, all: false });
    combobox({
      input: byId('words'),
      list: byId('words-list'),
      find: async (text, signal) => {
        const { items } = await ask('GET', 'v1/items', { parameters: { words: text.trim(), limit: OFFERED }, signal });
        this.shelf.keep(items);
        return items.map(({ id }) => ({ value: id, content: this.shelf.describe(id) }));
      },
      take: (id) => {
        byId('words').value = '';
        add(id);
      },
      failed: (problem) => this.showProblem(problem),
    });
    byId('more').addEventListener('click', () => {
      this.all = true;
      this.show(this.shown);
      byId('history').children[few()]?.querySelector('button').focus();
    });
  }

  build(shelf) {
    this.shelf = shelf;
  }

  /** Only the first ones, until more are asked for. */
  fold() {
    this.all = false;
  }

  /** @param shown {ids: the most recent first, total, state, edited, waiting, known} */
  show(shown) {
    this.shown = shown;
    const { ids, state } = shown;
    const list = byId('history');
    const before = [...list.querySelectorAll('button')].indexOf(document.activeElement);
    const added = new Set(state.mode === 'user' ? state.added.map(String) : []);
    const times = new Map();
    for (const id of ids) times.set(String(id), (times.get(String(id)) ?? 0) + 1);
    const distinct = [...new Map(ids.map((id) => [String(id), id])).values()];
    const rows = distinct.slice(0, this.all ? distinct.length : few()).map((id) => {
      const title = this.shelf.title(id);
      const often = times.get(String(id));
      return element('li', {},
        element('div', { class: 'what' }, ...this.shelf.describe(id)),
        often > 1 && element('span', { class: 'soft', title: `${often} times in the history` }, `${often}×`),
        added.has(String(id)) && element('span', { class: 'tag' }, 'added'),
        element('button', { type: 'button', class: 'icon', 'aria-label': `Remove ${title} from the history`, title: 'Remove', click: () => {
          this.remove(id);
          announce(`${title} is removed`);
        } }, element('span', { 'aria-hidden': 'true' }, '×')));
    });
    list.replaceChildren(...rows);
    if (!rows.length) list.append(element('li', { class: 'none' }, this.emptiness(shown)));
    if (before >= 0) (list.querySelectorAll('button')[Math.min(before, rows.length - 1)] ?? byId('words')).focus();
    const more = byId('more');
    more.hidden = rows.length === distinct.length;
    more.textContent = `Show all ${count(distinct.length)}`;
    byId('liked-count').textContent = distinct.length ? `${count(distinct.length)} ${distinct.length === 1 ? 'item' : 'items'}${this.cut(shown)}` : '';
    this.showEdits(state);
  }

  cut({ total, stored }) {
    return total > stored ? ` (the latest of ${count(total)})` : '';
  }

  emptiness({ state, waiting, total, stored }) {
    if (waiting) return 'Loading …';
    if (state.mode !== 'user') return 'Nothing yet. Search for an item above, or click one on the list of recommendations.';
    if (state.user === null) return 'Choose a user to see what they liked. Or search for an item, to begin a history.';
    if (total && !stored) return 'None of the items in the history is in the catalogue.';
    return 'No history is known of this user.';
  }

  showEdits(state) {
    const place = byId('edited');
    const counts = [[state.added.length, 'added'], [state.removed.length, 'removed']].filter(([number]) => number);
    place.hidden = state.mode !== 'user' || !counts.length;
    if (place.hidden) return place.replaceChildren();
    const back = element('button', { type: 'button', class: 'plain', click: () => {
      byId('words').focus();
      this.reset();
    } }, 'As stored');
    return place.replaceChildren(`Changed here only: ${counts.map(([number, what]) => `${number} ${what}`).join(', ')}. `, back);
  }

  showProblem(problem, again = null) {
    showProblem(byId('liked-problem'), problem, again);
  }
}
