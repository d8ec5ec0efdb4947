// What we recommend: rows that stay the same while they are on the list, so that what is open and focused stays so.

import { count, figure } from './columns.js';
import { byId, element } from './dom.js';
import { bar, showSimilar, showWhy } from './rows.js';

const MOVE_MS = 220;

/** @param add called with an item's id */
export class Answers {
  constructor({ add }) {
    Object.assign(this, { add, rows: new Map(), subject: null });
  }

  build(shelf) {
    this.shelf = shelf;
    this.clear();
  }

  clear() {
    for (const row of this.rows.values()) row.controller?.abort();
    this.rows.clear();
    this.subject = null;
    byId('list').replaceChildren();
    byId('empty').hidden = true;
  }

  wait() {
    byId('answers').setAttribute('aria-busy', 'true');
    if (!this.rows.size && byId('empty').hidden) {
      byId('list').replaceChildren(...Array.from({ length: 6 }, () => element('li', { class: 'ghost', 'aria-hidden': 'true' })));
    }
  }

  waited() {
    byId('answers').removeAttribute('aria-busy');
  }

  /** @param told {items, subject: of whom it is, query, liked: ids} */
  show({ items, subject, query, liked }) {
    this.waited();
    const ranks = subject === this.subject ? new Map([...this.rows.keys()].map((key, rank) => [key, rank])) : null;
    if (!ranks) this.clear();
    this.subject = subject;
    const has = new Set(liked.map(String));
    const focus = document.activeElement;
    const focused = [...this.rows.values()].findIndex((row) => row.place.contains(focus));
    const tops = new Map([...this.rows].map(([key, row]) => [key, row.place.getBoundingClientRect().top]));
    const scores = items.map((item) => item.score);
    const historyKey = JSON.stringify(query, (_, each) => (typeof each === 'bigint' ? String(each) : each));
    const found = new Map();
    items.forEach((item, rank) => {
      const key = String(item.id);
      const row = this.rows.get(key) ?? this.row(item.id);
      found.set(key, row);
      row.query = query;
      row.has = (id) => has.has(String(id));
      this.fill(row, item, rank, scores, ranks && (ranks.has(key) ? ranks.get(key) - rank : 'new'));
      if (row.open && row.historyKey !== historyKey) this.load(row);
      row.historyKey = historyKey;
    });
    for (const [key, row] of this.rows) if (!found.has(key)) row.controller?.abort();
    this.rows = found;
    const places = [...found.values()].map((row) => row.place);
    byId('list').replaceChildren(...places);
    if (focused >= 0) {
      const next = places[Math.min(focused, places.length - 1)];
      (focus.isConnected ? focus : next?.querySelector('button') ?? byId('answers-title')).focus({ preventScroll: true });
    }
    if (ranks) this.glide(tops);
  }

  row(id) {
    const row = { id, open: null, controller: null };
    const panelId = `panel-${this.next = (this.next ?? 0) + 1}`;
    const ask = (kind, text) => element('button', { type: 'button', class: 'ask', 'aria-expanded': 'false', 'aria-controls': panelId, click: () => this.toggle(row, kind) }, text);
    row.rank = element('span', { class: 'rank' });
    row.what = element('div', { class: 'what' });
    row.measure = element('span', { class: 'measure' });
    row.asks = { why: ask('why', 'Why'), similar: ask('similar', 'Similar') };
    row.panel = element('div', { class: 'panel', id: panelId, hidden: true });
    row.place = element('li', {}, row.rank, row.what, row.measure,
      element('span', { class: 'asks' }, row.asks.why, row.asks.similar), row.panel);
    return row;
  }

  fill(row, { id, score }, rank, scores, move) {
    const title = this.shelf.title(id);
    const liked = row.has(id);
    if (row.liked !== liked || row.title !== title) {
      const [name, details] = this.shelf.describe(id);
      row.what.replaceChildren(
        liked
          ? element('span', { class: 'seen' }, name, ' ', element('span', { class: 'tag' }, 'liked'))
          : element('button', { type: 'button', class: 'add', title: 'Add to the history', 'aria-label': `Add ${title} to the history`, click: () => this.add(id) }, name, element('span', { class: 'plus', 'aria-hidden': 'true' }, '+')),
        details);
      Object.assign(row, { liked, title });
      row.asks.why.setAttribute('aria-label', `Why ${title}`);
      row.asks.similar.setAttribute('aria-label', `Similar to ${title}`);
    }
    const moved = move === 'new' ? ['new', 'fresh', 'new on the list'] : move > 0 ? [`↑${move}`, 'up', `${move} up`] : move < 0 ? [`↓${-move}`, 'fell', `${-move} down`] : null;
    row.rank.replaceChildren(`${rank + 1}`, ...(moved ? [element('span', { class: `moved ${moved[1]}`, title: moved[2] }, moved[0])] : []));
    row.measure.replaceChildren(bar(score, scores), element('span', { class: 'figure' }, element('span', { class: 'unseen' }, 'score '), figure(score)));
  }

  toggle(row, kind) {
    row.controller?.abort();
    row.open = row.open === kind ? null : kind;
    for (const [each, button] of Object.entries(row.asks)) button.setAttribute('aria-expanded', String(each === row.open));
    row.panel.hidden = row.open === null;
    row.panel.replaceChildren();
    if (row.open) this.load(row);
  }

  load(row) {
    row.controller?.abort();
    row.controller = new AbortController();
    const { signal } = row.controller;
    const told = { signal, add: this.add, query: row.query, has: row.has };
    return (row.open === 'why' ? showWhy : showSimilar)(row.panel, row.id, this.shelf, told);
  }

  /** Rows go from where they were to where they are. */
  glide(tops) {
    if (matchMedia('(prefers-reduced-motion: reduce)').matches) return;
    for (const [key, row] of this.rows) {
      const by = tops.has(key) ? tops.get(key) - row.place.getBoundingClientRect().top : 0;
      if (by) row.place.animate([{ transform: `translateY(${by}px)` }, { transform: 'none' }], { duration: MOVE_MS, easing: 'ease-out' });
      else if (!tops.has(key)) row.place.animate([{ opacity: 0 }, { opacity: 1 }], { duration: MOVE_MS });
    }
  }

  /** Why there is nothing. */
  showEmpty(text, action = null) {
    const place = byId('empty');
    place.hidden = false;
    place.replaceChildren(element('p', {}, text), ...(action ? [element('button', { type: 'button', class: 'main', click: action.work }, action.text)] : []));
  }

  showTook(items, total, milliseconds) {
    byId('took').textContent = `${count(items)} of ${count(total)}, in ${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
  }
}
