// Elements: their text is always text, never markup.

/** An element; of its attributes, functions are listeners, true stands alone, and false, null and undefined are left out. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** Text of the data, in whatever direction it is written, that does not turn what stands beside it. */
export const foreign = (text, attributes = {}) => element('bdi', attributes, String(text));

export const byId = (id) => document.getElementById(id);

/** What waits until nothing has come for a while. */
export function settled(work, milliseconds) {
  let timer;
  const soon = (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), milliseconds);
  };
  soon.never = () => clearTimeout(timer);
  return soon;
}

/** Show a problem where it belongs; null: none. */
export function showProblem(place, problem, again = null) {
  place.replaceChildren();
  place.hidden = problem === null;
  if (problem === null) return;
  place.append(element('span', {}, problem.detail));
  if (again) place.append(' ', element('button', { type: 'button', class: 'plain', click: again }, 'Try again'));
}
