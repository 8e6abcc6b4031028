// Which of the steady sender's numbers a socket has, and what is wrong with them.

export class Numbers {
  constructor() {
    this.had = new Set();
    this.last = 0;
    this.twice = [];
    this.late = []; // after a higher one
  }

  add(number) {
    if (this.had.has(number)) this.twice.push(number);
    else if (number < this.last) this.late.push(number);
    this.had.add(number);
    this.last = Math.max(this.last, number);
  }

  /** Those up to `last` that are missing. */
  findMissing(last) {
    return Array.from({ length: last }, (_, index) => index + 1).filter((number) => !this.had.has(number));
  }

  /** What is wrong, up to `last`; an empty text if nothing is. */
  describeFaults(last) {
    const faults = { misses: this.findMissing(last), "has twice": this.twice, "has too late": this.late };
    return Object.entries(faults)
      .filter(([, numbers]) => numbers.length)
      .map(([word, numbers]) => `${word} ${toRanges(numbers)}`)
      .join(", ");
  }

  toString() {
    const faults = this.describeFaults(this.last);
    return this.had.size ? `${toRanges([...this.had])}: ${faults || "complete, none twice, in order"}` : "–";
  }
}

/** As in "1–4, 7". */
function toRanges(numbers) {
  const ranges = [];
  for (const number of [...numbers].sort((a, b) => a - b)) {
    const range = ranges.at(-1);
    if (range && number <= range[1] + 1) range[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([first, last]) => (first === last ? first : `${first}–${last}`)).join(", ");
}
