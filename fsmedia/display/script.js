const fsmStart = (root) => {
  root.classList.add("fsm-js");
  const cards = [...root.querySelectorAll(".fsm-card")];
  const homes = new Map(cards.map((card) => [card, card.parentNode]));
  const groups = [...root.querySelectorAll(".fsm-group")];
  const body = root.querySelector(".fsm-body");
  const size = Number(root.dataset.page) || 24;
  const sort = root.querySelector(".fsm-sort select");
  const flat = document.createElement("div");
  flat.className = "fsm-grid fsm-flat";
  flat.hidden = true;
  const pager = document.createElement("nav");
  pager.className = "fsm-pager";
  pager.setAttribute("aria-label", "Pages");
  const said = document.createElement("span");
  said.setAttribute("aria-live", "polite");
  let page = 0;
  const button = (text, step) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", () => {
      page += step;
      show();
      root.scrollIntoView({ block: "nearest" });
    });
    return made;
  };
  const before = button("Previous", -1);
  const after = button("Next", 1);
  pager.append(before, said, after);
  if (body) body.append(flat, pager);
  const keys = {
    newest: (card) => -Number(card.dataset.time || "-Infinity"),
    oldest: (card) => Number(card.dataset.time || "Infinity"),
    largest: (card) => -Number(card.dataset.size),
    smallest: (card) => Number(card.dataset.size),
  };
  const arrange = () => {
    const key = sort && keys[sort.value];
    const named = sort && sort.value === "name";
    flat.hidden = !(key || named);
    for (const group of groups) if (!flat.hidden) group.hidden = true;
    if (flat.hidden) {
      for (const card of cards) homes.get(card).append(card);
      return cards;
    }
    const order = [...cards].sort((a, b) =>
      named ? a.dataset.name.localeCompare(b.dataset.name) : key(a) - key(b));
    flat.append(...order);
    return order;
  };
  const show = () => {
    const order = arrange();
    const chosen = root.querySelector(".fsm-types input:checked");
    const type = chosen ? chosen.value : "all";
    const fits = order.filter((card) => type === "all" || card.dataset.t === type);
    const pages = Math.max(1, Math.ceil(fits.length / size));
    page = Math.min(Math.max(page, 0), pages - 1);
    const shown = new Set(fits.slice(page * size, (page + 1) * size));
    for (const card of cards) card.hidden = !shown.has(card);
    if (flat.hidden)
      for (const group of groups) group.hidden = !group.querySelector(".fsm-card:not([hidden])");
    pager.hidden = pages < 2;
    before.disabled = page === 0;
    after.disabled = page === pages - 1;
    said.textContent = `${page * size + 1}\u2013${page * size + shown.size} of ${fits.length}`;
  };
  for (const input of root.querySelectorAll(".fsm-types input"))
    input.addEventListener("change", () => { page = 0; show(); });
  if (sort) sort.addEventListener("change", () => { page = 0; show(); });
  root.addEventListener("click", async (event) => {
    const copy = event.target.closest(".fsm-copy");
    if (!copy || !root.contains(copy)) return;
    const text = copy.dataset.copy;
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      root.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
      copy.focus();
    }
    const word = copy.textContent;
    copy.textContent = done ? "Copied" : "Select it";
    setTimeout(() => { copy.textContent = word; }, 1200);
  });
  const zooms = () => [...root.querySelectorAll(".fsm-card:not([hidden]) .fsm-zoom")];
  root.addEventListener("keydown", (event) => {
    const open = root.querySelector(".fsm-zoom[open]");
    if (!open) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") open.open = false;
    else if (step) {
      const all = zooms();
      const next = all[(all.indexOf(open) + step + all.length) % all.length];
      open.open = false;
      next.open = true;
      next.querySelector("summary").focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  if (body) show();
};
