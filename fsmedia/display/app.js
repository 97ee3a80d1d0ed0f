// The page of `fsmedia browse`: a grid over any number of media with facets and near-duplicates, and runs side by side.
//
// It draws with the viewer of galleries, asks the server of its own page and nobody else; each state has an address.
// What the server tells was written by strangers: it is set as text, never as markup.
import {
  GAP, HEADING, LINE, Lightbox, Viewer, Wall, chip, choice, el, filtersButton, icon, number, plural, signOf, sizeSlider,
  sizeText, watchTheme,
} from "./viewer.js";
import {
  OVER, Row, api, attributesOf, go, isNow, leave, listed, mostOf, pager, path, set, shown, sized, valuesOf, viewOf,
  words,
} from "./views.js";

const PAGE = 100; // media that are asked for at once
const KEPT = 80; // such pages that stay in memory
const AT_ONCE = 2; // pages that are on their way
const STAYS = 80; // milliseconds that a card must be there before its picture is asked for
const LOOKED = 64; // media whose first lines or outlines are asked for at once
const FEW = 8; // values of a facet that are seen without scrolling
const RUNS = 12; // side by side
const ROWS = 20; // positions of a comparison at once
const NEAR = 250; // positions before and behind the place of one, among which it is looked for
const PENDING = Object.freeze({ title: "Loading", kind: "file", type: "", name: "", ref: "", pending: true });
const LABELS = {
  run_id: "Run", conversation_id: "Conversation", session_id: "Session", mime_type: "Type", policy_name: "Policy",
  provider_id: "Provider", since: "Since", until: "Until", expires_before: "Expires before", held: "Held", q: "Search",
};
const SORTS = { position: "by position", newest: "newest first", oldest: "oldest first", largest: "largest first" };

const compareLink = (runs) => `compare?${new URLSearchParams(runs.map((run) => ["run", run]))}`;

const listOf = async (query, more) => {
  if (query.has("_like")) return api(`similar/${path(query.get("_like"))}`, listed(query, { sort: null }));
  if (query.get("_view") === "duplicates") return api("duplicates", listed(query, { sort: null }));
  return api("media", listed(query, { offset: 0, limit: PAGE, ...more }));
};

// -- the media of a list, of which most are still on the server -------------------------------------------------------
class Remote {
  constructor() {
    Object.assign(this, { attributes: new Set(), groupings: [], sorts: [], fields: [], turn: 0, running: 0 });
    this.take({ items: [] });
  }

  survey() {}

  differs(value) {
    return new Set(this.first.map(value).filter((each) => each !== undefined && each !== "" && each !== null)).size > 1;
  }

  /** Begin with another list: its first page, or groups, which come whole. */
  take(answer, query = "") {
    this.turn += 1;
    this.first = answer.groups?.flat() ?? answer.items;
    Object.assign(this, { query, version: answer.version, pages: new Map(), wanted: [] });
    this.paged = !answer.groups && answer.version !== undefined && answer.total > this.first.length;
    this.items = new Array(this.paged ? answer.total : this.first.length).fill(PENDING);
    this.first.forEach((item, index) => { this.items[index] = item; });
    if (this.first.length) this.pages.set(0, Promise.resolve());
    this.model = Object.keys(Object.assign({}, ...this.first.map((item) => item.attributes)))
      .find((name) => /(^|[._])model(_name)?$/i.test(name));
    this.order = Array.from(this.items, (_, index) => index);
    let from = 0;
    this.groups = (answer.groups ?? [this.order]).map((group) => ({
      label: answer.groups ? `Like ${group[0].title}` : "",
      indices: this.order.slice(from, (from += group.length)),
      bytes: answer.groups ? group.reduce((sum, item) => sum + (item.size ?? 0), 0) : 0,
    }));
  }

  result() {
    return { groups: this.groups, order: this.order };
  }

  /** Bring pages, the first of them first; what was scrolled past is not asked for any more. */
  want(pages) {
    this.wanted = pages;
    this.pump();
  }

  pump() {
    const next = this.wanted.find((each) => !this.pages.has(each));
    if (next === undefined || this.running >= AT_ONCE) return;
    this.bring(next).catch((error) => shown.page.say(error.message)).finally(() => this.pump());
    this.pump();
  }

  /** Bring the page of a media, once. */
  async ready(index) {
    if (this.items[index]?.pending) await this.bring(Math.floor(index / PAGE));
  }

  bring(at) {
    if (!this.pages.has(at)) this.pages.set(at, this.ask(at, this.turn));
    for (const old of this.pages.keys())
      if (this.pages.size > KEPT && old !== at && !this.wanted.includes(old)) {
        this.pages.delete(old);
        this.items.fill(PENDING, old * PAGE, (old + 1) * PAGE);
      }
    return this.pages.get(at);
  }

  async ask(at, turn) {
    this.running += 1;
    try {
      const answer = await api("media", `${this.query}&offset=${at * PAGE}&limit=${PAGE}&version=${this.version}`);
      if (turn !== this.turn) return;
      // The store has changed, and the server does not know any more what it was before.
      if (answer.version !== this.version) shown.page.reload();
      else if (this.pages.has(at)) {
        answer.items.forEach((item, nth) => { this.items[at * PAGE + nth] = item; });
        shown.page.wall.arrived(at * PAGE, (at + 1) * PAGE);
      }
    } catch (error) {
      if (turn === this.turn) {
        this.pages.delete(at); // asked for again by the next scrolling, and not at once
        this.wanted = this.wanted.filter((each) => each !== at);
      }
      throw error;
    } finally {
      this.running -= 1;
    }
  }
}

// -- the grid: tiles of one size, of which those in view are there ----------------------------------------------------
class Grid extends Wall {
  constructor(viewer) {
    super(viewer);
    [this.coming, this.looked] = [new Set(), new Set()];
  }

  /** Show a list: nobody is scrolling yet. */
  show(result) {
    this.stays = 0;
    super.show(result);
    this.stays = STAYS;
  }

  planned() {
    const columns = Math.max(1, Math.floor((this.width + GAP) / (this.viewer.size * 1.35 + GAP)));
    const width = (this.width - GAP * (columns - 1)) / columns;
    const height = Math.round(width * 0.75);
    const [rows, side] = [[], mostOf(width)];
    let bottom = 0;
    this.result.groups.forEach(({ label, indices }, group) => {
      for (let from = 0; from < indices.length; from += columns) {
        const headings = label && !from ? [{ group, x: 0, y: bottom, width: this.width }] : [];
        const y = bottom + (headings.length ? HEADING : 0);
        const cells = indices.slice(from, from + columns).map((index, nth) => ({
          index, group, y, x: Math.round(nth * (width + GAP)), width: Math.floor(width), height,
        }));
        rows.push({ cells, headings, y: bottom, bottom: y + height + LINE });
        bottom = y + height + LINE + GAP;
      }
    });
    if (this.side !== side) this.clear();
    this.side = side;
    return { rows, bottom };
  }

  clear() {
    this.canvas.replaceChildren();
    this.cards.clear();
    this.sections.clear();
  }

  draw() {
    if (!this.plan) return;
    super.draw();
    for (const image of this.coming)
      if (!image.isConnected) {
        image.removeAttribute("src"); // scrolled past: what is in view now is not to wait for it
        this.coming.delete(image);
      }
    const { library } = this.viewer;
    const seen = [...this.cards.keys()].sort((a, b) => a - b);
    const middle = seen[seen.length >> 1];
    const pending = seen.filter((index) => library.items[index].pending)
      .sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
    library.want([...new Set(pending.map((index) => Math.floor(index / PAGE)))]);
  }

  /** Draw the cards of media that came. */
  arrived(from, to) {
    const focused = this.viewer.root.activeElement?.closest(".card");
    let lost = false;
    for (const [index, card] of this.cards)
      if (index >= from && index < to) {
        lost ||= card === focused;
        card.remove();
        this.cards.delete(index);
      }
    this.draw();
    if (lost) this.cards.get(this.result.order[this.current])?.querySelector(".open").focus({ preventScroll: true });
  }

  card(index) {
    const card = super.card(index);
    card.classList.toggle("pending", Boolean(this.viewer.library.items[index].pending));
    return card;
  }

  preview(item, index, opener, over) {
    if (item.pending) return;
    if (!item.thumb) {
      super.preview(item, index, opener, over);
      if (!item.looked && /^(text|audio)$/.test(item.kind)) this.look(index);
      return;
    }
    const image = el("img", { alt: "", decoding: "async", draggable: "false" });
    const done = () => this.coming.delete(image);
    image.addEventListener("load", done);
    image.addEventListener("error", () => {
      if (!done() || !image.isConnected) return;
      delete item.thumb; // there is none, and it is not asked for again
      image.remove();
      over.prepend(signOf(item));
    });
    opener.append(image);
    // What is beyond the window comes when what is in it had its turn.
    const ask = (later) => {
      const { top, bottom } = opener.getBoundingClientRect();
      if (!image.isConnected) return;
      if (!later && (bottom < 0 || top > innerHeight)) setTimeout(ask, 5 * STAYS, true);
      else {
        this.coming.add(image);
        image.src = sized(item.thumb, opener.clientWidth);
      }
    };
    setTimeout(ask, this.stays);
  }

  /** Ask for the first lines of texts and the outlines of sounds, of many at once and of those alone that stay. */
  look(index) {
    this.looked.add(index);
    this.looking ??= setTimeout(async () => {
      const { items } = this.viewer.library;
      const there = [...this.looked].filter((each) => this.cards.has(each) && !items[each].pending);
      const indices = there.slice(0, LOOKED);
      [this.looking, this.looked] = [null, new Set()];
      there.slice(LOOKED).forEach((each) => this.look(each));
      if (!indices.length) return;
      await seen(indices.map((each) => items[each]));
      for (const each of indices) if (this.cards.has(each)) this.renew(each);
    }, 2 * STAYS);
  }
}

/** Add to items what only a look at their bytes tells. */
async function seen(items) {
  for (const item of items) item.looked = true;
  const query = new URLSearchParams(items.map((item) => ["ref", item.ref]));
  const { items: found } = await api("items", query).catch(() => ({ items: [] })); // cards without it are cards, too
  items.forEach((item, nth) => Object.assign(item, found[nth] ?? {}));
}

// -- the bar, and the facets beside the grid --------------------------------------------------------------------------
const nameOf = (facet) => facet.name.replace(/^attributes\./, "");
const isOf = (facet, condition) =>
  condition === `!${nameOf(facet)}` || condition.startsWith(`${nameOf(facet)}=`);

/** A condition on an attribute as one for each value that it allows; itself where it is of another form. */
function valuesIn(name, condition) {
  try {
    return valuesOf(condition.slice(name.length + 1)).map((value) => `${name}=${value}`);
  } catch {
    return [condition];
  }
}

/** The values of a facet that are chosen, each as the word for it alone. */
function chosen(query, facet) {
  if (facet.word !== "a") return query.getAll(facet.word);
  return query.getAll("a").filter((each) => isOf(facet, each)).flatMap((each) => valuesIn(nameOf(facet), each));
}

/** Choose a value of a facet, or choose it no more. */
function choose(query, facet, value, on) {
  const all = new Set(chosen(query, facet));
  const word = facet.word === "a" && value.value !== null ? valuesIn(nameOf(facet), value.query)[0] : value.query;
  if (on && facet.word === "a" && value.value === null) all.clear(); // none and some exclude each other
  if (on && facet.word === "a" && value.value !== null) all.delete(`!${nameOf(facet)}`);
  all[on ? "add" : "delete"](word);
  if (facet.word !== "a") {
    query.delete(facet.word);
    for (const each of all) query.append(facet.word, each);
    return;
  }
  const texts = [...all].map((each) => each.slice(nameOf(facet).length + 1));
  const others = query.getAll("a").filter((each) => !isOf(facet, each));
  const own = texts.length > 1 ? [`${nameOf(facet)}=[${texts.join(",")}]`] : [...all];
  query.delete("a");
  for (const each of [...others, ...own]) query.append("a", each);
}

class Facets {
  constructor(viewer) {
    this.viewer = viewer;
    this.title = el("bdi");
    this.count = el("p", { class: "count", role: "status" });
    this.search = el("input", {
      type: "search", placeholder: "Search", title: "Search (/)",
      "aria-label": "Search captions, names, ids and attributes", oninput: () => this.typed(),
    });
    this.panel = el("div", {
      class: "facets", id: "facets", role: "group", "aria-label": "Filters", hidden: innerWidth < 900,
    });
    this.filters = filtersButton(this.panel, () => this.toggle());
    this.chips = el("div", { class: "chips" });
    this.view = this.select("View", { "": "all media", duplicates: "near-duplicates" }, "_view");
    this.sort = this.select("Sort", SORTS, "sort");
    this.compare = el("a", { class: "link" }, "Runs side by side");
    const again = el("button", { type: "button", onclick: () => viewer.reload({ refresh: 1 }) }, "Refresh");
    this.element = el("div", { class: "bar" },
      el("div", { class: "row" }, el("h2", {}, this.title), this.count, el("span", { class: "spring" }), this.search),
      el("div", { class: "row", role: "group", "aria-label": "What is shown" }, this.filters, this.chips,
        el("div", { class: "arranging" }, this.compare, again, this.view, this.sort, sizeSlider(viewer))));
  }

  select(label, options, word) {
    return choice(label, Object.entries(options), (event) => go((query) => {
      if (word === "_view") query.delete("_like");
      set(word, event.currentTarget.value)(query);
    }));
  }

  build() {}

  toggle(open = this.panel.hidden) {
    this.panel.hidden = !open;
    this.filters.setAttribute("aria-expanded", String(open));
  }

  /** Each pause in typing is a state; what was typed before it, in the same breath, is none to go back to. */
  typed() {
    clearTimeout(this.typing);
    const replace = Boolean(history.state?.typing);
    this.typing = setTimeout(() => go(set("q", this.search.value.trim()), { replace, typing: true }), 250);
  }

  update() {
    const { data } = this.viewer;
    const query = words();
    this.title.textContent = data.title;
    this.count.textContent = data.counted;
    if (this.viewer.root.activeElement !== this.search) this.search.value = query.get("q") ?? "";
    const like = query.has("_like");
    this.view.lastChild.value = query.get("_view") ?? "";
    this.sort.hidden = like || query.get("_view") === "duplicates";
    this.sort.lastChild.value = query.get("sort") ?? "position";
    const removed = [...query].filter(([name]) => name === "_like" || (LABELS[name] ?? name) !== name || name === "a");
    this.chips.replaceChildren(...removed.map(([name, value]) => {
      const text = name === "a" ? value : name === "_like" ? `Similar to ${value.split("/").at(-1)}`
        : `${LABELS[name]}: ${value || "none"}`;
      return chip(text, `filter ${text}`, () => {
        this.filters.focus(); // the chip goes
        go((next) => this.without(next, name, value));
      });
    }));
  }

  without(query, name, value) {
    const kept = query.getAll(name).filter((each) => each !== value);
    query.delete(name);
    for (const each of kept) query.append(name, each);
  }

  /** Ask for the counts of a selection, and draw them; what has the focus keeps it. */
  async load(query) {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const { facets } = await api("facets", listed(query, { sort: null }));
    if (turn !== this.turn) return;
    const key = this.viewer.root.activeElement?.dataset.key;
    const top = this.panel.scrollTop;
    this.panel.replaceChildren(...facets.map((facet) => this.field(facet, query)));
    this.panel.scrollTop = top;
    if (key) [...this.panel.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key)?.focus();
    const runs = query.getAll("run_id").filter(Boolean);
    const found = facets.find(({ name }) => name === "run_id")?.values.map(({ value }) => value).filter(Boolean) ?? [];
    const together = (runs.length > 1 ? runs : found).slice(0, runs.length > 1 ? RUNS : 2);
    this.compare.hidden = together.length < 2;
    this.compare.href = compareLink(together);
  }

  field(facet, query) {
    const values = el("div", { class: "values" });
    const fill = (found) => values.replaceChildren(...found.map((value) => this.value(facet, value, query)));
    fill(facet.values);
    const find = facet.others ? el("input", {
      type: "search", placeholder: `Find among ${number(facet.values.length + facet.others)}`,
      "aria-label": `Find a value of ${facet.label}`, "data-key": `find ${facet.name}`,
      oninput: async (event) => {
        const text = event.currentTarget.value;
        const { facets } = await api("facets", listed(query, { sort: null, facet: facet.name, find: text }))
          .catch((error) => shown.page.say(error.message) ?? { facets: [] });
        if (text === find.value) fill(facets[0]?.values ?? []);
      },
    }) : null;
    values.classList.toggle("many", facet.values.length > FEW);
    return el("fieldset", {}, el("legend", { title: facet.label }, el("bdi", {}, facet.label)), find,
      facet.kind === "number" && facet.min < facet.max ? this.range(facet, query) : null, values);
  }

  value(facet, value, query) {
    const word = facet.word === "a" && value.value !== null ? valuesIn(nameOf(facet), value.query)[0] : value.query;
    const label = value.value === null ? "none" : value.label;
    return el("label", { title: label, class: value.count ? "" : "none" }, el("input", {
      type: "checkbox", checked: chosen(query, facet).includes(word), "data-key": `${facet.name} ${word}`,
      onchange: (event) => {
        const { checked } = event.currentTarget;
        go((next) => choose(next, facet, value, checked));
      },
    }), el("bdi", {}, label), el("span", { class: "n" }, number(value.count)));
  }

  /** From and to, of an attribute with numbers. */
  range(facet, query) {
    const bound = (sign, text, hint) => {
      const begin = `${nameOf(facet)}${sign}`;
      const now = query.getAll("a").find((each) => each.startsWith(begin)) ?? "";
      return el("input", {
        type: "number", step: "any", placeholder: String(hint), value: now.slice(begin.length),
        "aria-label": `${facet.label} ${text}`, "data-key": begin,
        onchange: (event) => {
          const { value } = event.currentTarget;
          go((next) => {
            if (now) this.without(next, "a", now);
            if (value !== "") next.append("a", `${begin}${value}`);
          });
        },
      });
    };
    return el("div", { class: "range" }, bound(">=", "from", facet.min), "to", bound("<=", "to", facet.max));
  }
}

// -- the lightbox -----------------------------------------------------------------------------------------------------
/** Write an attribute; its value is JSON, for a number may have more digits than fit. */
async function annotated(item, name, value) {
  const answer = await api(`annotate/${path(item.ref)}`, "", {
    method: "POST", headers: { "Content-Type": "application/json", "X-Fsmedia-Write": "1" },
    body: `{"attributes":{${JSON.stringify(name)}:${value}}}`,
  });
  return Object.assign(item, { attributes: {} }, answer.item);
}

class Box extends Lightbox {
  /** One that is opened by its address may be in no page that is here: it stands alone. */
  get order() {
    return this.alone ? ["alone"] : super.order;
  }

  get item() {
    return this.viewer.library.items[this.index];
  }

  async show(position) {
    const turn = (this.turn += 1);
    this.position = position;
    try {
      await this.viewer.library.ready(this.index);
    } catch (error) {
      this.say(error.message);
    }
    if (turn !== this.turn || !this.item || this.item.pending) return;
    this.ref = this.item.ref;
    if (words().get("_open") !== this.ref) {
      const replace = words().has("_open");
      go((query) => {
        query.set("_open", this.ref);
        query.set("_at", position);
      }, { replace, opened: replace ? history.state?.opened : true });
    }
    await super.show(position);
  }

  close() {
    if (this.element.open) leave();
  }

  /** Show what the address says. */
  async follow(query) {
    const ref = query.get("_open");
    if (!ref && this.element.open) {
      super.close();
      this.alone = null;
    } else if (ref && !(this.element.open && this.ref === ref)) {
      const position = await this.find(ref, Number(query.get("_at") ?? -1));
      if (this.element.open) this.show(position);
      else this.open(position);
    }
  }

  async find(ref, at) {
    const { library } = this.viewer;
    this.alone = null;
    await library.ready(at).catch(() => {}); // then it is looked for alone, which says what is wrong
    const index = library.items[at]?.ref === ref ? at : library.items.findIndex((item) => item.ref === ref);
    if (index >= 0) return index;
    library.items.alone = await api(`item/${path(ref)}`);
    this.alone = ref;
    return 0;
  }

  async put(item, got, index) {
    const view = viewOf(item, got, (percent) => { this.percent.textContent = `${percent} %`; });
    if (view) this.use(view);
    else await super.put(item, got, index);
  }

  describe(item) {
    super.describe(item);
    const similar = el("button", { type: "button", class: "copy", onclick: () => go((query) => {
      for (const name of [...OVER, "_view"]) query.delete(name);
      query.set("_like", item.ref);
    }) }, icon("image"), el("span", {}, "Find similar"));
    const link = el("a", { class: "copy", href: item.media, target: "_blank", rel: "noopener" }, "Open in a tab");
    this.facts.append(...[el("div", { class: "more" }, item.thumb ? similar : null, link),
      this.viewer.data.rates ? this.form(item) : null].filter(Boolean));
  }

  /** Write an attribute: a number, true, false, a list in JSON, or else a text; nothing removes it. */
  form(item) {
    const name = el("input", { required: true, "aria-label": "Name of the attribute", placeholder: "name" });
    const value = el("input", { "aria-label": "Its value; nothing removes it", placeholder: "value" });
    const write = async (event) => {
      event.preventDefault();
      try {
        let json = JSON.stringify(value.value || null);
        try {
          JSON.parse(value.value);
          json = value.value;
        } catch {} // a text
        await annotated(item, name.value, json);
        if (this.item === item) this.refill(item, this.facts.scrollTop);
        this.say(`Written: ${name.value}`);
      } catch (error) {
        this.say(`Not written: ${error.message}`);
      }
    };
    return el("form", { class: "annotate", onsubmit: write }, el("h3", {}, "Annotate"), name, value,
      el("button", { class: "copy" }, "Write"));
  }

  keydown(event) {
    // Letters that are typed are no commands.
    if (event.target.matches("form input") && event.key !== "Tab" && event.key !== "Escape") event.stopPropagation();
    else super.keydown(event);
  }
}

// -- the grid as a page -----------------------------------------------------------------------------------------------
const HOST = {
  boxed: false,
  original: (index) => api(`original/${path(shown.page.library.items[index].ref)}`),
  file: async (index) => {
    const { media, name } = shown.page.library.items[index];
    return { url: `${media}?download=1`, name };
  },
  rate: (index, rating) => annotated(shown.page.library.items[index], "rating", JSON.stringify(rating ?? null)),
};

class Browse extends Viewer {
  constructor(place, css) {
    const rates = document.body.dataset.writes === "true";
    const data = { items: [], title: "", counted: "", now: 0, size: 124, rates };
    super(place, data, HOST, css, { Library: Remote, Wall: Grid, Bar: Facets, Lightbox: Box });
    this.list = el("div", { class: "list" }, this.empty, this.wall.element, this.choices);
    this.bar.element.after(el("div", { class: "beside" }, this.bar.panel, this.list));
    this.rows = new Row(this.root, (query) => this.together(query), () => {});
    this.element.append(this.rows.element);
  }

  /** Show what the address says; a list begins where it was scrolled to when it was left. */
  async show(top = 0) {
    const query = words();
    try {
      if (listed(query) !== this.listed) await this.load(query, top);
      await this.lightbox.follow(query);
      await this.rows.follow(query);
    } catch (error) {
      this.say(error.message);
    }
  }

  /** Paper gets what is in view: all of a list may be more than a browser can draw. */
  watchPrint() {
    return () => {};
  }

  reload(more) {
    return this.load(words(), scrollY, more);
  }

  async load(query, top, more) {
    const turn = (this.asked = (this.asked ?? 0) + 1);
    this.listed = listed(query);
    this.element.classList.add("loading");
    let answer;
    try {
      [answer, this.wrong] = [await listOf(query, more), ""];
    } catch (error) {
      [answer, this.wrong] = [{ items: [], total: 0 }, error.message];
    }
    if (turn !== this.asked) return;
    this.element.classList.remove("loading");
    this.lightbox.originals.destroy(); // they are kept by number
    this.library.take(answer, this.listed);
    this.call(answer, query.has("_like"));
    document.title = `${this.data.title || "Media"} - fsmedia`;
    this.telling = this.tellingFacts();
    this.captioned = this.library.differs((item) => item.caption);
    this.clearSelection();
    this.update();
    scrollTo(0, top);
    this.bar.load(query).catch((error) => this.say(error.message));
  }

  /** Give a list its name, and say how much it is. */
  call({ title = "", items, groups, total, bytes, looked, now = Date.now() / 1000 }, like) {
    const counted = groups ? `${plural(groups.length, "group")} in ${number(looked)} of ${number(total)} media`
      : `${plural(total ?? items.length, "media")}${bytes ? `, ${sizeText(bytes)}` : ""}`;
    const named = like ? `Similar to ${items[0]?.title ?? ""}` : groups ? "Near-duplicates" : title;
    Object.assign(this.data, { now, counted, title: named });
  }

  sayEmpty() {
    if (this.listed === undefined) return; // nothing was asked for yet
    const narrowed = `${words()}`;
    const said = this.wrong || (narrowed ? "Nothing fits." : "No media here.");
    this.empty.replaceChildren(el("p", { role: this.wrong ? "alert" : null }, said), narrowed ? this.resetter() : "");
  }

  reset() {
    this.bar.search.value = "";
    go((query) => [...query.keys()].forEach((name) => query.delete(name)));
  }

  thumb(index) {
    const { thumb } = this.library.items[index] ?? {};
    return thumb ? sized(thumb, 960 / devicePixelRatio) : null;
  }

  choiceBar() {
    return super.choiceBar(el("button", { type: "button", class: "side", onclick: () => go((query) => {
      for (const each of this.references().slice(0, RUNS)) query.append("_pair", each);
    }, { opened: true }) }, "Side by side"));
  }

  /** What is still on the server can't be selected: its reference is not known. */
  choose(position, range, on) {
    super.choose(position, range, on);
    const before = this.selected.size;
    for (const index of this.selected) if (this.library.items[index].pending) this.selected.delete(index);
    if (this.selected.size < before) {
      this.selectionChanged();
      this.say("Only what has been in view is selected");
    }
  }

  selectionChanged() {
    super.selectionChanged();
    const side = this.choices.querySelector(".side");
    side.disabled = this.selected.size < 2 || this.selected.size > RUNS;
  }

  /** The media that are looked at side by side. */
  async together(query) {
    const refs = query.getAll("_pair");
    if (refs.length < 2) return null;
    const { items } = await api("items", new URLSearchParams(refs.map((ref) => ["ref", ref])));
    const columns = items.filter(Boolean).map((item) => ({ item, heading: item.title }));
    if (columns.length < refs.length) this.say(`${plural(refs.length - columns.length, "media")} gone`);
    return columns.length ? { name: `${number(columns.length)} side by side`, columns } : null;
  }
}

// -- runs side by side ------------------------------------------------------------------------------------------------
const SAME = "the same bytes as in an earlier column";

class Compare {
  constructor(place, css) {
    this.root = place.attachShadow({ mode: "open" });
    [this.title, this.count] = [el("h2"), el("p", { class: "count", role: "status" })];
    this.runs = el("div", { class: "chips" });
    this.add = el("select", { "aria-label": "Add a run", onchange: ({ currentTarget: { value } }) =>
      value && go((query) => { query.append("run", value); query.delete("_from"); }) });
    this.by = el("select", {
      "aria-label": "A position is", onchange: ({ currentTarget: { value } }) => go((query) => {
        set("by", value)(query);
        query.delete("_from");
      }),
    },
      el("option", { value: "" }, "message and part"), el("option", { value: "conversation" }, "conversation too"));
    this.table = el("table", {});
    this.paper = el("div", { class: "runs", tabindex: "0", role: "region", "aria-label": "Runs" }, this.table);
    this.pager = pager("positions", (by) => go(set("_from", this.from + by * ROWS)));
    this.row = new Row(this.root, (query) => this.columns(query), (by) => this.turn(by));
    const bar = el("div", { class: "bar" },
      el("div", { class: "row" }, this.title, this.count, el("span", { class: "spring" }),
        el("a", { class: "link", href: "./" }, "All media")),
      el("div", { class: "row", role: "group", "aria-label": "What is shown" }, this.runs, this.add,
        el("div", { class: "arranging" }, this.by, this.pager.element)));
    this.element = el("div", { class: "viewer paged compare" }, bar, this.paper, this.row.element);
    this.root.replaceChildren(el("style", {}, css), this.element);
    watchTheme(this.element);
    this.offer();
  }

  say(text) {
    this.count.textContent = text;
  }

  /** Offer the runs of the store. */
  async offer() {
    const { facets } = await api("facets", "top=200").catch(() => ({ facets: [] }));
    const known = facets.find(({ name }) => name === "run_id")?.values.filter(({ value }) => value) ?? [];
    this.add.replaceChildren(el("option", { value: "" }, "Add a run\u2026"),
      ...known.map(({ value, label }) => el("option", { value }, label)));
  }

  async show(top = 0) {
    const query = words();
    const at = /^\d+$/.test(query.get("_row") ?? "") ? Number(query.get("_row")) : null;
    try {
      // A row that is open is on the page that is shown, whatever else the address says.
      this.from = at === null ? Number(query.get("_from") ?? 0) : Math.floor(at / ROWS) * ROWS;
      const asked = listed(query, { offset: this.from, limit: ROWS, _from: null });
      if (asked !== this.asked) this.loading = this.load(query, asked, top);
      await this.loading; // by an earlier state, too: who turns rows fast must not see one of the page before
      if (!isNow(query)) return;
      const row = this.answer?.rows[at - this.from];
      if (at !== null && row && !query.has("_is")) { // by its name it is found when others were stored before it
        query.set("_is", row.name);
        history.replaceState(history.state, "", `?${query}`);
      }
      await this.row.follow(query);
    } catch (error) {
      this.asked = null; // it is asked for again
      this.say(error.message);
    }
  }

  async load(query, asked, top) {
    this.asked = asked;
    const runs = query.getAll("run");
    this.runs.replaceChildren(...runs.map((run) => chip(run, `run ${run}`, () => {
      this.add.focus(); // the chip goes
      go((next) => {
        next.delete("run");
        next.delete("_from"); // there may be fewer positions
        for (const each of runs) if (each !== run) next.append("run", each);
      });
    })));
    this.by.value = query.get("by") === "conversation" ? "conversation" : "";
    this.title.textContent = `${plural(runs.length, "run")} side by side`;
    document.title = `${runs.join(", ")} - fsmedia`;
    if (!runs.length) return this.table.replaceChildren();
    const answer = await api("compare", asked);
    if (asked !== this.asked) return undefined;
    this.answer = answer;
    this.say(plural(answer.total, "position"));
    const last = this.from + answer.rows.length;
    this.pager.update(`${number(this.from + 1)} to ${number(last)}`, this.from === 0, last >= answer.total);
    this.pager.element.hidden = answer.total <= ROWS;
    const counted = ({ total, bytes }) => el("small", {}, `${plural(total, "media")}, ${sizeText(bytes)}`);
    this.table.replaceChildren(
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Position"), ...answer.runs.map((each) =>
        el("th", { scope: "col" }, el("bdi", {}, each.run), counted(each))))),
      el("tbody", {}, ...answer.rows.map((row, nth) => this.tr(row, this.from + nth))));
    [this.paper.scrollTop, this.paper.scrollLeft] = [0, 0];
    scrollTo(0, top);
    this.look(answer);
    return undefined;
  }

  open(at, more = {}) {
    return go((query) => {
      query.set("_row", at);
      query.delete("_is");
      set("_from", Math.floor(at / ROWS) * ROWS)(query);
    }, { opened: true, ...more });
  }

  turn(by) {
    const at = Number(words().get("_row")) + by;
    if (at >= 0 && at < this.answer.total) this.open(at, { replace: true, opened: history.state?.opened });
  }

  tr(row, at) {
    const all = row.cells.flat();
    const large = el("button", {
      type: "button", class: "copy", "aria-label": `Enlarge ${row.name}`, onclick: () => this.open(at),
    }, "Enlarge");
    return el("tr", {}, el("th", { scope: "row" }, el("span", {}, row.name), large), ...row.cells.map((items, column) =>
      el("td", {}, ...(items.length ? items.map((item, nth) => this.cell(item, row.same[column][nth], all, at))
        : [el("p", { class: "missing" }, "nothing at this position")]),
      row.counts?.[column] > items.length ? el("p", {}, `${number(row.counts[column] - items.length)} more`) : null)));
  }

  cell(item, same, all, at) {
    const opener = el("button", {
      type: "button", class: "open", "aria-label": `Enlarge ${item.title}`, onclick: () => this.open(at),
    });
    // Texts lie over the button and not in it: its name says what it does.
    const over = el("div", { class: "over", "aria-hidden": "true" });
    const sign = () => over.append(signOf(item));
    if (item.thumb) {
      const image = el("img", { alt: "", loading: "lazy", decoding: "async", src: sized(item.thumb, 380) });
      image.addEventListener("error", () => {
        image.remove();
        sign();
      });
      opener.append(image);
    } else sign();
    return el("div", { class: "cell", "data-ref": item.ref }, el("div", { class: "seen" }, opener, over),
      el("p", {}, el("bdi", {}, item.title)), same ? el("p", { class: "wrong" }, SAME) : null,
      ...attributesOf(item, all));
  }

  /** Bring the first lines of texts, and draw their rows again. */
  async look(answer) {
    const items = answer.rows.flatMap(({ cells }) => cells.flat()).filter((item) => item.kind === "text");
    for (let from = 0; from < items.length && answer === this.answer; from += LOOKED) {
      await seen(items.slice(from, from + LOOKED));
      for (const item of items.slice(from, from + LOOKED)) {
        const drawn = [...this.table.querySelectorAll(".cell")].find((each) => each.dataset.ref === item.ref);
        const lines = el("span", { class: "snippet", dir: "auto" }, item.text);
        if (item.text) drawn?.querySelector(".over").replaceChildren(lines);
      }
    }
  }

  /** The row that the address names, all of it: a column for each of its media. */
  async columns(query) {
    const [at, name] = [query.has("_row") ? Number(query.get("_row")) : -1, query.get("_is")];
    const row = this.answer?.rows[at - this.from];
    if (at >= 0 && name && row?.name !== name) return this.moved(query, at, name);
    if (!row) return null;
    const columns = row.cells.flatMap((items, column) => items.map((item, nth) => ({
      item, heading: this.answer.runs[column].run, same: row.same[column][nth] ? SAME : "",
    })));
    return { name: row.name, columns, at, total: this.answer.total };
  }

  /** Go to where a row is now; nothing is shown of one that is gone. */
  async moved(query, at, name) {
    const offset = Math.max(0, at - NEAR);
    const { rows } = await api("compare", listed(query, { offset, limit: 2 * NEAR, _from: null }));
    const nth = rows.findIndex((each) => each.name === name);
    if (!isNow(query)) return null;
    if (nth >= 0) await this.open(offset + nth, { replace: true, opened: history.state?.opened });
    else this.say(`${name}: there is nothing any more`);
    return null;
  }
}

// -- the beginning ----------------------------------------------------------------------------------------------------
const sheets = await Promise.all(["viewer.css", "style.css"].map(async (name) => (await fetch(name)).text()));
const place = el("div");
document.getElementById("app").replaceChildren(place);
shown.page = new (document.body.dataset.page === "compare" ? Compare : Browse)(place, sheets.join("\n"));
history.scrollRestoration = "manual";
addEventListener("popstate", ({ state }) => shown.page.show(state?.top ?? 0));
await shown.page.show(history.state?.top ?? 0);
