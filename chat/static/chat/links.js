// Addresses in a text become links: http and https alone, and never by way of markup.

import { make } from "./dom.js";

const ADDRESS = /\bhttps?:\/\/[^\s<>"\u0000-\u001f]+/gi;
const TRAILING = /[.,;:!?'’”»…\]}]+$/u; // belongs to the sentence

/** Return texts and links, to be appended to an element. */
export function toNodes(text) {
  const nodes = [];
  let end = 0;
  for (const { 0: found, index } of text.matchAll(ADDRESS)) {
    const address = trim(found);
    if (!isAddress(address)) continue;
    nodes.push(text.slice(end, index), makeLink(address));
    end = index + address.length;
  }
  nodes.push(text.slice(end));
  return nodes.filter((node) => node !== "");
}

function trim(found) {
  let address = found.replace(TRAILING, "");
  const count = (sign) => address.split(sign).length;
  while (address.endsWith(")") && count(")") > count("(")) address = address.slice(0, -1).replace(TRAILING, "");
  return address;
}

function isAddress(text) {
  try {
    return ["http:", "https:"].includes(new URL(text).protocol);
  } catch {
    return false;
  }
}

function makeLink(address) {
  return make("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow", textContent: address });
}
