// What stands below a recommendation when it is asked for: similar items, and why it is there; and the bars.

import { ask } from './api.js';
import { figure } from './columns.js';
import { element, showProblem } from './dom.js';

const SIMILAR = 5;
const PULLS = 6;
const EXPLAINED = 50; // the service looks at so many

/** A bar from zero, on a scale that all bars of a list share. */
export function bar(value, values) {
  const numbers = values.filter((each) => each !== null);
  const [low, high] = [Math.min(0, ...numbers), Math.max(0, ...numbers)];
  const share = (number) => (high > low ? ((number - low) / (high - low)) * 100 : 0);
  const made = element('span', { class: value < 0 ? 'bar down' : 'bar', 'aria-hidden': 'true' }, element('span', {}));
  made.style.setProperty('--from', `${share(Math.min(0, value ?? 0))}%`);
  made.style.setProperty('--size', `${Math.abs(share(value ?? 0) - share(0))}%`);
  return made;
}

/** So many decimals that small differences show. */
function digitsOf(values) {
  const most = Math.max(...values.map(Math.abs));
  return most >= 1 ? 2 : most >= 0.05 ? 3 : 4;
}

const line = (shelf, id, value, values, more = null) =>
  element('li', {}, element('div', { class: 'what' }, ...shelf.describe(id)),
    element('span', { class: 'measure' }, bar(value, values), element('span', { class: 'figure' }, figure(value, digitsOf(values)))), more);

/** Items like this one, each of which can be added to the history. */
export async function showSimilar(place, id, shelf, { signal, add, has }) {
  await fill(place, signal, async () => {
    const body = { items: [id], k: SIMILAR, columns: shelf.names };
    const { items } = (await ask('POST', 'v1/similar', { body, signal })).results[0];
    shelf.keep(items);
    if (!items.length) return [element('p', { class: 'soft' }, 'There is no other item.')];
    const scores = items.map((item) => item.score);
    return [
      element('p', { class: 'soft' }, 'Nearest in the space of the candidate tower, by cosine.'),
      element('ol', { class: 'small' }, ...items.map((item) => {
        const add1 = element('button', { type: 'button', class: 'icon', title: 'Add to the history', 'aria-label': `Add ${shelf.title(item.id)} to the history`, click: () => add(item.id) }, element('span', { 'aria-hidden': 'true' }, '+'));
        return line(shelf, item.id, item.score, scores, has(item.id) ? element('span', { class: 'tag' }, 'liked') : add1);
      })),
    ];
  });
}

/** Which items of the history pull this one up, and which push it down. */
export async function showWhy(place, id, shelf, { signal, query }) {
  await fill(place, signal, async () => {
    const found = await ask('POST', 'v1/explain', { body: { query, item: id }, signal });
    if (!found.history.length) {
      return [element('p', { class: 'soft' }, 'There is no history to explain it from: the score is what the features alone give.')];
    }
    shelf.keep(found.history);
    const ends = [found.history.filter(({ pull }) => pull > 0).slice(0, PULLS), found.history.filter(({ pull }) => pull < 0).slice(-PULLS / 2)];
    const pulls = ends.flat().map(({ pull }) => pull);
    const part = (title, entries) => entries.length
      ? [element('h4', {}, title), element('ol', { class: 'small bare' }, ...entries.map((entry) => line(shelf, entry.id, entry.pull, pulls)))]
      : [];
    return [
      element('p', { class: 'soft' }, `Score ${figure(found.score)}; without any history it would be ${figure(found.without_history)}. By how much the score falls without one item${found.history.length < EXPLAINED ? '' : ', among the latest'}:`),
      ...part('Pull it up', ends[0]),
      ...part('Push it down', ends[1]),
    ];
  });
}

async function fill(place, signal, work) {
  const show = (...content) => {
    const focused = place.contains(document.activeElement);
    place.replaceChildren(...content);
    if (focused) place.parentElement.querySelector('[aria-expanded=true]')?.focus();
  };
  place.setAttribute('aria-busy', 'true');
  if (!place.childElementCount) place.append(element('p', { class: 'soft' }, 'Loading …'));
  try {
    const content = await work();
    if (!signal.aborted) show(...content);
  } catch (problem) {
    if (signal.aborted) return;
    const said = element('p', { class: 'problem', role: 'alert' });
    showProblem(said, problem, () => fill(place, signal, work));
    show(said);
  }
  place.removeAttribute('aria-busy');
}
