// Reading what was said before: page by page as one scrolls up, and after a connection that was not recovered.

const PAGE = 50;
const MOST_PAGES = 10; // at once
const RETRY_MS = 5000; // after a page could not be read

export class History {
  constructor(conversations, request) {
    Object.assign(this, { conversations, request });
  }

  /** Read what is older than what `conversation` has; resolves once something is there, or nothing is. */
  async loadOlder(conversation) {
    if (conversation.isLoading || conversation.isComplete || Date.now() < conversation.retryAt) return;
    conversation.isLoading = true;
    this.conversations.onChange();
    // In private, all conversations share a room: a page may have nothing of this one.
    for (let page = 0, found = 0; page < MOST_PAGES && !found && !conversation.isComplete; page += 1) {
      const messages = await this.read(conversation.source, conversation.cursor);
      if (messages === null) {
        conversation.retryAt = Date.now() + RETRY_MS;
        break;
      }
      found = this.take(messages, conversation).length;
      conversation.isComplete = messages.length === 0;
      conversation.cursor = messages[0]?.id ?? conversation.cursor;
    }
    conversation.isLoading = false;
    this.conversations.onChange();
  }

  /**
   * Read what was said in the room `source` since what is known of it. If that is too much, what is known is forgotten,
   * so that no gap stays: scrolling up reads the rest. Returns whether it could be read.
   */
  async catchUp(source) {
    const known = Math.max(0, ...this.conversations.getBySource(source).map(({ newest }) => newest));
    for (const one of this.conversations.getBySource(source)) one.isLoading = true;
    const isRead = await this.readSince(source, known);
    for (const one of this.conversations.getBySource(source)) one.isLoading = false;
    this.conversations.onChange();
    return isRead;
  }

  async readSince(source, known) {
    const messages = [];
    let isReached = false;
    for (let page = 0; page < MOST_PAGES && !isReached; page += 1) {
      const older = await this.read(source, messages[0]?.id ?? null);
      if (older === null) return false;
      messages.unshift(...older);
      isReached = older.length === 0 || known === 0 || Number(older[0].id) <= known;
    }
    if (!isReached) for (const one of this.conversations.getBySource(source)) one.forgetUpTo(known);
    for (const { conversation, item } of this.take(messages)) this.conversations.count(conversation, item, true);
    for (const one of this.conversations.getBySource(source)) {
      if (!isReached || one.cursor === null) one.cursor = messages[0]?.id ?? null;
      if (known === 0 && messages.length === 0) one.isComplete = true;
      if (one.lastRead === null) this.conversations.markRead(one); // at a first visit nothing is unread
    }
    return true;
  }

  async read(room, before) {
    const { messages } = await this.request("history", { room, limit: PAGE, ...(before && { before }) });
    return messages ?? null;
  }

  /** Take messages in, those of one conversation alone if it is given; return what was new. */
  take(messages, only = null) {
    return messages.map(({ event, data, meta }) => this.conversations.receive(event, data, meta, only)).filter(Boolean);
  }
}
