// A field that offers what fits, after the ARIA pattern: arrows go through it, Enter takes, Escape closes.

import { announce } from './announce.js';
import { newest } from './api.js';
import { element, settled } from './dom.js';

const WAIT_MS = 120;

/**
 * @param input the field
 * @param list an empty ul
 * @param find (text, signal) => options of {value, content: nodes, name: text}
 * @param take called with an option's value
 * @param typed called with the text when Enter is pressed and no option is active; null: the first option is taken
 * @param failed called with a problem, or null
 */
export function combobox({ input, list, find, take, typed = null, failed }) {
  const asking = newest();
  let options = [];
  let active = -1;
  let shownFor = null;

  Object.entries({ role: 'combobox', 'aria-autocomplete': 'list', 'aria-expanded': 'false', 'aria-controls': list.id, autocomplete: 'off', spellcheck: 'false' })
    .forEach(([name, value]) => input.setAttribute(name, value));
  list.setAttribute('role', 'listbox');
  list.hidden = true;

  function close() {
    openSoon.never();
    asking(async () => null);
    list.hidden = true;
    activate(-1);
    input.setAttribute('aria-expanded', 'false');
  }

  function activate(place) {
    active = place;
    [...list.children].forEach((each, at) => each.setAttribute('aria-selected', String(at === place)));
    if (place < 0 || !options.length) input.removeAttribute('aria-activedescendant');
    else {
      input.setAttribute('aria-activedescendant', list.children[place].id);
      list.children[place].scrollIntoView({ block: 'nearest' });
    }
  }

  function choose(place) {
    const { value } = options[place];
    close();
    take(value);
  }

  async function open() {
    const text = input.value;
    let found;
    try {
      found = await asking((signal) => find(text, signal));
      if (found === null) return;
      failed(null);
    } catch (problem) {
      close();
      failed(problem);
      return;
    }
    options = found;
    shownFor = text;
    const rows = options.map((option, place) =>
      element('li', { role: 'option', id: `${list.id}-${place}`, mousedown: (event) => event.preventDefault(), click: () => choose(place) }, ...option.content));
    list.replaceChildren(...(rows.length ? rows : [element('li', { role: 'option', 'aria-disabled': 'true', class: 'none' }, 'Nothing fits.')]));
    list.hidden = false;
    input.setAttribute('aria-expanded', 'true');
    activate(-1);
    announce(options.length === 1 ? '1 choice' : `${options.length} choices`);
  }

  const openSoon = settled(() => document.activeElement === input && open(), WAIT_MS);
  input.addEventListener('input', openSoon);
  input.addEventListener('click', () => list.hidden && open());
  input.addEventListener('blur', close);
  input.addEventListener('keydown', (event) => {
    if (event.isComposing) return;
    const { key } = event;
    if (key === 'ArrowDown' || key === 'ArrowUp') {
      event.preventDefault();
      if (list.hidden) open();
      else if (options.length) activate((active + (key === 'ArrowDown' ? 1 : active < 0 ? 0 : -1) + options.length) % options.length);
    } else if (key === 'Escape' && !list.hidden) {
      event.preventDefault();
      close();
    } else if (key === 'Enter') {
      event.preventDefault();
      if (!list.hidden && active >= 0) choose(active);
      else if (typed) {
        close();
        typed(input.value.trim());
      } else if (!list.hidden && options.length && shownFor === input.value) choose(0);
    }
  });
  return { close };
}
