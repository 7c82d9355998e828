// Small words for the document. All text goes in as text: nothing that a server or a labeller wrote becomes markup.

export const $ = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** What a screen reader says next; twice the same is said twice. */
export function say(text) {
  const region = $("said");
  region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}

/** Remembering that does without a store where the browser refuses one. */
export const memory = {
  get(key) {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(key, value);
      return true;
    } catch {
      return false; // full, or switched off
    }
  },
  delete(key) {
    try {
      localStorage.removeItem(key);
    } catch {
      // what could not be written need not be removed
    }
  },
  keys() {
    try {
      return Object.keys(localStorage);
    } catch {
      return [];
    }
  },
};

export function count(n, one, many = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}
