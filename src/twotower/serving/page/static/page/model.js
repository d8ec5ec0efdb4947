// What answers: its figures, and which of its versions.

import { ask, setToken } from './api.js';
import { count, figure } from './columns.js';
import { byId, element, foreign, showProblem } from './dom.js';

const INDEXES = { ExactIndex: 'exact', LayeredIndex: 'layered' }; // the others are called after their inventors' letters

/** Figures by where they are from: ``[["test", "seen removed"], {"recall@10": 0.2}]``. */
function groupsOf(metrics, path = []) {
  const figures = Object.fromEntries(Object.entries(metrics).filter(([, value]) => typeof value === 'number'));
  const inner = Object.entries(metrics).filter(([, value]) => value && typeof value === 'object' && !Array.isArray(value));
  return [...(Object.keys(figures).length ? [[path, figures]] : []), ...inner.flatMap(([name, value]) => groupsOf(value, [...path, name.replaceAll('_', ' ')]))];
}

/** The figure that stands for the model: recall@10 on test rows, without what was seen, or what there is of it. */
function headline(groups) {
  const worth = ([path]) => (path.includes('test') ? 2 : 0) + (path.includes('seen removed') ? 1 : 0);
  const best = [...groups].sort((a, b) => worth(b) - worth(a))[0];
  if (!best) return null;
  const name = 'recall@10' in best[1] ? 'recall@10' : Object.keys(best[1])[0];
  return { name, value: best[1][name], path: best[0] };
}

/** @param activated called when another version answers */
export class Model {
  constructor({ activated }) {
    this.activated = activated;
  }

  build(model) {
    this.model = model;
    const groups = groupsOf(model.metrics);
    const head = headline(groups);
    const version = byId('version');
    version.textContent = model.version;
    version.title = 'The version of the model that answers';
    const kind = INDEXES[model.index] ?? model.index.replace(/Index$/, '');
    const facts = [
      ['items', count(model.items)],
      ['users', count(model.users)],
      ['index', `${kind}, ${model.embedding_dim} dims`],
      ...(head ? [[head.name, figure(head.value, 3), `Held out: ${head.path.join(', ')}`]] : []),
      ['last answer', '–', 'Measured in this page: from the question to the answer'],
    ];
    byId('facts').replaceChildren(...facts.map(([name, value, title]) =>
      element('div', { title }, element('dt', {}, name), element('dd', { id: name === 'last answer' ? 'latency' : null }, value))));
    this.showMetrics(groups);
    this.showVersions();
  }

  showLatency(milliseconds) {
    byId('latency').textContent = `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
  }

  showMetrics(groups) {
    const place = byId('metrics');
    if (!groups.length) return place.replaceChildren(element('p', { class: 'soft' }, 'The run measured nothing on held-out rows.'));
    const names = [...new Set(groups.flatMap(([, figures]) => Object.keys(figures)))];
    const row = (name) => element('tr', {}, element('th', { scope: 'row' }, name), ...groups.map(([, figures]) => element('td', {}, name in figures ? figure(figures[name], 4) : '')));
    return place.replaceChildren(
      element('h3', {}, 'On held-out rows'),
      element('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': 'Figures on held-out rows' },
        element('table', {}, element('thead', {}, element('tr', {}, element('td', {}), ...groups.map(([path]) => element('th', { scope: 'col' }, path.join(', '))))),
          element('tbody', {}, ...names.map(row)))));
  }

  showVersions() {
    const { versions, version, writable } = this.model;
    const place = byId('versions');
    const title = element('h3', {}, versions.length > 1 ? 'Version' : 'Version and index');
    const facts = element('p', { class: 'soft' }, 'Answering: ', foreign(version, { class: 'ink' }), ` with ${this.model.index} over ${count(this.model.items)} items.`);
    if (versions.length < 2) {
      return place.replaceChildren(title, facts, element('p', { class: 'soft' }, 'There is no other version to choose. Serve a folder that twotower publish made to choose among several.'));
    }
    if (!writable) {
      return place.replaceChildren(title, facts, element('p', { class: 'soft' }, `There are ${versions.length} versions. To choose another one here, start the service with --token-file.`));
    }
    const options = versions.map((name) => element('option', { value: name, selected: name === version }, name === version ? `${name} (answers now)` : name));
    const choice = element('select', { id: 'choice' }, ...options);
    const token = element('input', { id: 'token', type: 'password', autocomplete: 'off', required: true });
    const problem = element('p', { id: 'version-problem', class: 'problem', role: 'alert', hidden: true });
    const button = element('button', { type: 'submit', class: 'main' }, 'Activate');
    const form = element('form', { submit: (event) => {
      event.preventDefault();
      this.activate(choice.value, token.value, button, problem);
    } },
    element('div', { class: 'line' },
      element('label', { class: 'field wide' }, element('span', {}, 'Version'), choice),
      element('label', { class: 'field' }, element('span', {}, 'Token'), token), button),
    problem, element('p', { class: 'soft' }, 'For everybody who asks this service. The token stays in this page’s memory.'));
    return place.replaceChildren(title, facts, form);
  }

  async activate(version, token, button, place) {
    showProblem(place, null);
    button.disabled = true;
    try {
      setToken(token);
      await ask('POST', 'v1/model:activate', { body: { version } });
    } catch (problem) {
      if (problem.status === 401 && !this.model.private) setToken('');
      showProblem(place, problem.status === 401 ? { detail: 'This is not the token of the service.' } : problem);
      return;
    } finally {
      button.disabled = false;
    }
    await this.activated(version);
  }
}
