// The service: questions, answers, problems. The token stays in memory.

let token = '';
const MOST_DIGITS = 15; // integers of more digits are not exact as numbers
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const MARK = `integer-${crypto.getRandomValues(new Uint32Array(4)).join('')}:`; // that no text of the data begins with
const MARKED = new RegExp(`"${MARK}(-?\\d+)"`, 'g');

/** What is wrong, as the service (RFC 9457) or the network has it. */
export class Problem extends Error {
  constructor(status, detail, kind = '') {
    super(detail);
    this.status = status;
    this.detail = detail;
    this.kind = kind;
  }
}

export function setToken(text) {
  token = text;
}

/** Ask the service; integers beyond 2^53 stay exact (BigInt). */
export async function ask(method, path, { body, parameters, signal } = {}) {
  const headers = {};
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (token) headers.Authorization = `Bearer ${token}`;
  const query = parameters === undefined ? '' : `?${new URLSearchParams(parameters)}`;
  let response, text;
  try {
    response = await fetch(path + query, { method, headers, body: body === undefined ? undefined : write(body), signal });
    text = await response.text();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, 'The service does not answer. Is it still running?', 'unreachable');
  }
  let found;
  try {
    found = read(text);
  } catch {
    throw new Problem(response.status, `The answer (status ${response.status}) is not JSON. Is something between this page and the service?`);
  }
  if (!response.ok) throw new Problem(response.status, found.detail ?? response.statusText, String(found.type ?? '').split(':').pop());
  return found;
}

/** One place's questions: a newer one ends the older one, whose answer becomes null. */
export function newest() {
  let controller = null;
  return async (work) => {
    controller?.abort();
    const own = (controller = new AbortController());
    try {
      const found = await work(own.signal);
      return own.signal.aborted ? null : found;
    } catch (error) {
      if (own.signal.aborted) return null;
      throw error;
    }
  };
}

/** An id as it is sent, from what somebody typed. */
export function idOf(text, kind) {
  if (kind === 'text') return text;
  if (!/^-?\d+$/.test(text)) throw new Problem(422, `The ids are integers; “${text}” is none.`);
  return text.length > MOST_DIGITS ? BigInt(text) : Number(text);
}

function read(text) {
  const isLong = (found) => found.length > MOST_DIGITS && /^-?\d+$/.test(found);
  const marked = text.replace(STRING_OR_NUMBER, (found) => (isLong(found) ? `"${MARK}${found}"` : found));
  return JSON.parse(marked, (_, value) => (typeof value === 'string' && value.startsWith(MARK) ? BigInt(value.slice(MARK.length)) : value));
}

function write(value) {
  const text = JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? `${MARK}${each}` : each));
  return text.replace(MARKED, '$1');
}
