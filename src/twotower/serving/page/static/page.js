// The page: what is asked, in one state that the address says, and who shows the answer.

import { announce } from './page/announce.js';
import { Answers } from './page/answers.js';
import { Problem, ask, newest, setToken } from './page/api.js';
import { Shelf, count } from './page/columns.js';
import { byId, element, foreign, showProblem } from './page/dom.js';
import { Filters } from './page/filters.js';
import { History } from './page/history.js';
import { Model } from './page/model.js';
import { fromHash, historyOf, isEdited, queryOf, toHash, unsaid, withItem, withoutItem } from './page/state.js';
import { Who } from './page/who.js';

const KS = [5, 10, 20, 50, 100];
const LOOKED_UP = 50;

let model, shelf, state;
let stored = { user: null, ids: [], total: 0 }; // of the known user, the most recent last
const asking = newest();

const who = new Who(change);
const filters = new Filters(change);
const history = new History({ add, remove: (id) => go(withoutItem(state, id)), reset: () => change({ added: [], removed: [] }) });
const answers = new Answers({ add });
const card = new Model({
  activated: async (version) => {
    await load();
    byId('choice')?.focus();
    announce(`${version} answers now`);
    await answer();
  },
});

function change(other, step = true) {
  go({ ...state, ...other }, step);
}

function add(id) {
  announce(`${shelf.title(id)} is added to the history`);
  go(withItem(state, id));
}

/** Another state: in the address, on the page, and answered. */
function go(next, step = true) {
  const sameUser = String(next.user) === String(state.user) && next.mode === state.mode;
  state = next;
  const hash = toHash(state);
  if (hash !== location.hash.slice(1)) window.history[step ? 'pushState' : 'replaceState'](null, '', hash ? `#${hash}` : location.pathname + location.search);
  if (!sameUser) history.fold();
  show();
  answer();
}

function show() {
  who.show(state);
  filters.show(state);
  const k = byId('k');
  const choices = [...new Set([...KS, state.k])].filter((each) => each <= model.limits.max_k || each === state.k).sort((a, b) => a - b);
  k.replaceChildren(...choices.map((each) => element('option', { value: each, selected: each === state.k }, String(each))));
  byId('seen').checked = state.seen;
  showHistory();
  byId('whom').replaceChildren(...whom());
  document.title = state.mode === 'user' && state.user !== null ? `${state.user} – twotower` : 'twotower';
}

const isStored = () => state.mode !== 'user' || state.user === null || String(stored.user) === String(state.user);
const liked = () => historyOf(state, isStored() ? stored.ids : []);

function showHistory() {
  const own = state.mode === 'user' && state.user !== null;
  const [total, kept] = own && isStored() ? [stored.total, stored.ids.length] : [0, 0];
  history.show({ ids: [...liked()].reverse(), state, waiting: own && !isStored(), total, stored: kept });
}

/** In words: for whom the list is. */
function whom() {
  if (state.mode === 'user' && state.user === null) return ['For somebody of whom nothing is known, until you choose a user.'];
  if (state.mode === 'user') return ['For user ', foreign(state.user, { class: 'ink' }), isEdited(state) ? ', with a history changed here' : ''];
  const items = state.history.length ? `${count(state.history.length)} ${state.history.length === 1 ? 'item' : 'items'}` : '';
  if (state.mode === 'history') return [items ? `For a history of ${items}` : 'For an empty history: what a newcomer gets'];
  const known = Object.entries(state.features).map(([name, value]) => element('span', {}, `${who.label(name)} `, foreign([value].flat().join(', '), { class: 'ink' })));
  if (!known.length) return [items ? `For somebody with a history of ${items}` : 'For somebody of whom nothing is known'];
  return ['For somebody described: ', ...known.flatMap((each, place) => (place ? [', ', each] : [each])), items ? `, with a history of ${items}` : ''];
}

async function answer() {
  answers.wait();
  try {
    await asking(askAll);
    showProblems(null);
  } catch (problem) {
    showProblems(problem);
  }
}

/** The history, where it is not there; then the list. A newer question ends this one at any of its waits. */
async function askAll(signal) {
  const own = state.mode === 'user' && state.user !== null;
  const waiting = own && !isStored() ? readHistory(signal) : lookUp(liked(), signal);
  if (own && isEdited(state)) await waiting;
  const query = queryOf(state, stored.ids, model.limits.max_history);
  const missing = unsaid(query, model);
  if (missing) throw new Problem(422, missing);
  const body = { queries: [query], k: state.k, exclude_seen: !state.seen, where: state.where, columns: shelf.names };
  const start = performance.now();
  const [reply] = await Promise.all([
    ask('POST', 'v1/recommend', { body, signal }).then((found) => ({ ...found, milliseconds: performance.now() - start })),
    waiting,
  ]);
  if (signal.aborted) return;
  if (reply.version !== model.version) {
    await load(signal);
    if (own && !signal.aborted) await readHistory(signal);
    if (signal.aborted) return;
  }
  const { items, assumed } = reply.results[0];
  shelf.keep(items);
  const subject = `${state.mode} ${state.mode === 'user' ? state.user : ''}`;
  answers.show({ items, subject, query, liked: liked() });
  answers.showTook(items.length, model.items, reply.milliseconds);
  card.showLatency(reply.milliseconds);
  showAssumed(assumed);
  if (items.length) byId('empty').hidden = true;
  else showNothing();
  announce(`${items.length} ${items.length === 1 ? 'recommendation' : 'recommendations'}`);
}

async function readHistory(signal) {
  const user = state.user;
  const parameters = { user: String(user), limit: model.limits.max_history };
  const found = await ask('GET', 'v1/history', { parameters, signal });
  if (signal.aborted) return;
  shelf.keep(found.items);
  stored = { user, ids: found.items.map((item) => item.id).reverse(), total: found.total };
  await lookUp(state.added, signal);
  showHistory();
}

/** Columns of items that came from the address alone. */
async function lookUp(ids, signal) {
  const unknown = ids.filter((id) => !shelf.columnsOf(id));
  for (let from = 0; from < unknown.length; from += LOOKED_UP) {
    const parameters = unknown.slice(from, from + LOOKED_UP).map((id) => ['id', String(id)]);
    shelf.keep((await ask('GET', 'v1/items', { parameters, signal })).items);
  }
  for (const id of unknown) if (!shelf.columnsOf(id)) shelf.keep([{ id, columns: {} }]);
  if (unknown.length && !signal.aborted) showHistory();
}

function showAssumed(assumed) {
  const place = byId('assumed');
  const parts = Object.entries(assumed).map(([name, value]) => `${name} ${value}`);
  place.hidden = !parts.length;
  place.textContent = `Not given, and filled in from train: ${parts.join(', ')}.`;
}

function showNothing() {
  if (Object.keys(state.where).length) answers.showEmpty('No item fits these filters.', { text: 'Clear the filters', work: () => change({ where: {} }) });
  else if (!state.seen) answers.showEmpty('They have seen everything.', { text: 'Include what they have seen', work: () => change({ seen: true }) });
  else answers.showEmpty('There are no items.');
}

/** A problem stands where it can be mended. */
function showProblems(problem) {
  const places = ['user-problem', 'features-problem', 'filters-problem', 'liked-problem', 'answers-problem'];
  const place = problem === null ? null : placeOf(problem);
  for (const each of places) showProblem(byId(each), each === place ? problem : null, each === 'answers-problem' ? () => answer() : null);
  if (problem === null) return;
  answers.waited();
  answers.clear();
  byId('took').textContent = '';
  byId('assumed').hidden = true;
  if (place !== 'answers-problem') answers.showEmpty('No recommendations: the message above says why.');
  if (place === 'filters-problem') filters.open(true);
}

function placeOf({ detail, kind }) {
  if (detail.startsWith('where')) return 'filters-problem';
  if (detail.startsWith('features')) return state.mode === 'features' ? 'features-problem' : 'answers-problem';
  if (state.mode === 'user' && (kind === 'unknown-id' || detail.startsWith('user'))) return 'user-problem';
  if (detail.startsWith('history')) return 'liked-problem';
  return 'answers-problem';
}

/** What answers now; all that was known of another version is forgotten. */
async function load(signal) {
  model = await ask('GET', 'v1/model', { signal });
  shelf = new Shelf(model);
  stored = { user: null, ids: [], total: 0 };
  card.build(model);
  who.build(model);
  filters.build(model, shelf);
  history.build(shelf);
  answers.build(shelf);
  if (state) show();
}

async function start() {
  showProblem(byId('start-problem'), null);
  try {
    await load();
  } catch (problem) {
    byId('gate').hidden = problem.status !== 401;
    if (problem.status !== 401) showProblem(byId('start-problem'), problem, start);
    else byId('gate-token').focus();
    throw problem;
  }
  byId('gate').hidden = true;
  byId('all').hidden = false;
  state = fromHash(location.hash, model);
  show();
  await answer();
}

byId('k').addEventListener('change', (event) => change({ k: Number(event.target.value) }));
byId('seen').addEventListener('change', (event) => change({ seen: event.target.checked }));
byId('gate').addEventListener('submit', async (event) => {
  event.preventDefault();
  setToken(byId('gate-token').value);
  try {
    await start();
    byId('user').focus();
  } catch (problem) {
    showProblem(byId('gate-problem'), problem.status === 401 ? { detail: 'This is not the token of the service.' } : problem);
  }
});
window.addEventListener('popstate', () => {
  if (!state) return;
  const next = fromHash(location.hash, model);
  if (toHash(next) === toHash(state)) return;
  state = next;
  history.fold();
  show();
  answer();
});
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault(); // the address says the state, not a place on the page
  byId('answers-title').focus();
});
start().catch(() => {});
