// The side list on a narrow screen: out of sight, and out of the keyboard's way, until it is asked for.

export class Drawer {
  constructor(side, main, opener, closer, shade) {
    Object.assign(this, { side, main, opener });
    this.narrow = matchMedia("(max-width: 55.99rem)");
    this.isOpen = false;
    opener.addEventListener("click", () => this.set(true));
    for (const one of [closer, shade]) one.addEventListener("click", () => this.close());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.isOpen) this.close();
    });
    this.narrow.addEventListener("change", () => this.set(false));
    this.closer = closer;
    this.set(false);
  }

  close() {
    if (!this.isOpen) return;
    this.set(false);
    this.opener.focus();
  }

  set(isOpen) {
    this.isOpen = isOpen;
    this.side.dataset.open = isOpen;
    this.opener.setAttribute("aria-expanded", isOpen);
    this.side.inert = this.narrow.matches && !isOpen;
    this.main.inert = isOpen;
    if (isOpen) this.closer.focus();
  }
}
