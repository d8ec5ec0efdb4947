// Who asks: a known user, somebody described, or a history.

import { ask, idOf } from './api.js';
import { isInteger, isList, isNumber, namer, valueOf } from './columns.js';
import { combobox } from './combobox.js';
import { byId, element, foreign, settled, showProblem } from './dom.js';
import { MODES } from './state.js';

const OFFERED = 8;
const EXAMPLES = 5;
const WAIT_MS = 250;

/** @param change called with what is other in the state, and whether it is a step to go back from */
export class Who {
  constructor(change) {
    this.change = change;
    for (const each of byId('modes').querySelectorAll('input')) {
      each.addEventListener('change', () => this.change({ mode: each.value }));
    }
    combobox({
      input: byId('user'),
      list: byId('user-list'),
      find: async (text, signal) => {
        const { users } = await ask('GET', 'v1/users', { parameters: { start: text.trim(), limit: OFFERED }, signal });
        return users.map((id) => ({ value: id, content: [foreign(id)] }));
      },
      take: (id) => this.choose(id),
      typed: (text) => this.choose(text),
      failed: (problem) => showProblem(byId('user-problem'), problem),
    });
    byId('user').addEventListener('blur', () => byId('user-problem').hidden && this.state && this.show(this.state));
    byId('forget').addEventListener('click', () => this.change({ features: {} }));
    this.describeSoon = settled(() => this.change({ features: this.given() }, false), WAIT_MS);
  }

  /** Make the fields that the model has. */
  build(model) {
    this.model = model;
    this.label = namer(model.features.map((column) => column.name));
    this.fields = model.features.map((column) => ({ column, input: this.field(column) }));
    byId('features').replaceChildren(
      ...this.fields.map(({ column, input }) =>
        element('label', { class: 'field', title: column.name }, element('span', {}, this.label(column.name)), input)),
    );
    if (!model.features.length) byId('features').append(element('p', { class: 'soft' }, 'The model reads no features of who asks; only histories.'));
    byId('forget').hidden = !model.features.length;
    this.offerExamples();
  }

  field({ name, type, values }) {
    const now = () => this.change({ features: this.given() });
    if (type.startsWith('Boolean') || (values.length && !isList(type))) {
      const options = values.map((value) => element('option', { value: String(value) }, value === true ? 'yes' : value === false ? 'no' : String(value)));
      return element('select', { name, change: now }, element('option', { value: '' }, 'not known'), ...options);
    }
    const number = isNumber(type) ? { type: 'number', step: isInteger(type) ? '1' : 'any' } : { type: 'text', dir: 'auto' };
    const hint = isList(type) ? 'some, with commas' : 'not known';
    return element('input', { name, ...number, placeholder: hint, autocomplete: 'off', input: () => this.describeSoon() });
  }

  given() {
    const found = {};
    for (const { column, input } of this.fields) {
      if (input.value.trim() === '') continue;
      const texts = isList(column.type) ? input.value.split(',').map((text) => text.trim()).filter(Boolean) : [input.value];
      const values = texts.map((text) => valueOf(text, column.type));
      found[column.name] = isList(column.type) ? values : values[0];
    }
    return found;
  }

  async offerExamples() {
    const place = byId('examples');
    place.replaceChildren();
    try {
      const { users } = await ask('GET', 'v1/users', { parameters: { start: '', limit: EXAMPLES } });
      if (!users.length) return;
      place.append(element('span', { class: 'soft' }, 'For instance'));
      place.append(...users.map((id) => element('button', { type: 'button', class: 'example', click: () => this.choose(id) }, foreign(id))));
    } catch {
      // the field itself will say what is wrong
    }
  }

  choose(idOrText) {
    try {
      if (idOrText === '') return this.change({ user: null, added: [], removed: [] });
      const user = typeof idOrText === 'string' ? idOf(idOrText, this.model.user_ids) : idOrText;
      return this.change({ mode: 'user', user, added: [], removed: [] });
    } catch (problem) {
      return showProblem(byId('user-problem'), problem);
    }
  }

  show(state) {
    this.state = state;
    for (const mode of MODES) {
      byId('modes').querySelector(`[value=${mode}]`).checked = mode === state.mode;
      document.querySelector(`.mode[data-mode=${mode}]`).hidden = mode !== state.mode;
    }
    const user = byId('user');
    if (document.activeElement !== user || state.user !== null) user.value = state.user ?? '';
    for (const { column, input } of this.fields) {
      const text = [state.features[column.name] ?? ''].flat().join(', ');
      if (document.activeElement === input && text !== '' && input.type !== 'select-one') continue;
      if (input.tagName === 'SELECT' && text !== '' && ![...input.options].some((option) => option.value === text)) {
        input.append(element('option', { value: text }, text));
      }
      if (input.value !== text) input.value = text;
    }
  }
}
