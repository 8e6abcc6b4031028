// Finding and making elements.

export const $ = (id) => document.getElementById(id);

/** Make an element with properties (`className`, `textContent`, …), `dataset` and children. Text stays text. */
export function make(tag, { dataset = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}
