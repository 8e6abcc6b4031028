// Making elements, and changing a list of them no more than need be.

export const $ = (id) => document.getElementById(id);

/** Make an element with properties (`className`, `textContent`, …), `dataset` and children. Text stays text. */
export function make(tag, { dataset = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}

/** Give `list` exactly these children. What stays is not touched, and the keyboard's focus is not thrown out. */
export function setChildren(list, children) {
  const wanted = new Set(children);
  const focused = [...list.children].find((child) => child.contains(document.activeElement));
  const next = focused && !wanted.has(focused) && (focused.nextElementSibling ?? focused.previousElementSibling);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  let place = list.firstElementChild;
  for (const child of children) {
    if (child === place) place = place.nextElementSibling;
    else list.insertBefore(child, place);
  }
  if (next) (next.querySelector("button") ?? list).focus();
}

/** Set a text only if it is another one, as each change may be read out. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Return a function that has `run` called once before the next frame, however often it is called itself. */
export function perFrame(run) {
  let isWaiting = false;
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    const timer = setTimeout(finish, 500); // a page that nobody sees has no frames
    const frame = requestAnimationFrame(finish);
    function finish() {
      clearTimeout(timer);
      cancelAnimationFrame(frame);
      isWaiting = false;
      run();
    }
  };
}
