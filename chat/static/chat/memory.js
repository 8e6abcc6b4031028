// What the browser remembers: the name, and of each user the rooms and how far each conversation was read.

const SAVE_MS = 1000;
const MOST = 200; // conversations

export const recallName = () => load("userId") ?? "";
export const storeName = (name) => save("userId", name);

export class Memory {
  constructor(user) {
    this.key = `webfarm:${user}`;
    const { rooms, read } = parse(load(this.key));
    this.names = Array.isArray(rooms) ? rooms.filter((room) => typeof room === "string") : [];
    this.read = new Map(Object.entries(read ?? {}));
    this.timer = null;
    addEventListener("pagehide", () => this.save());
  }

  get rooms() {
    return this.names;
  }

  set rooms(names) {
    this.names = names;
    this.saveSoon();
  }

  getRead(key) {
    return this.read.get(key);
  }

  setRead(key, id) {
    this.read.delete(key);
    this.read.set(key, id);
    this.saveSoon();
  }

  saveSoon() {
    this.timer ??= setTimeout(() => this.save(), SAVE_MS);
  }

  save() {
    if (this.timer === null) return;
    clearTimeout(this.timer);
    this.timer = null;
    const read = Object.fromEntries([...this.read].slice(-MOST));
    save(this.key, JSON.stringify({ rooms: this.names, read }));
  }
}

function parse(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

function load(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // storage may be forbidden
  }
}

function save(key, text) {
  try {
    localStorage.setItem(key, text);
  } catch {
    // Then it is forgotten with the page.
  }
}
