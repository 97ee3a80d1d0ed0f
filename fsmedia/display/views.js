// What the page of `fsmedia browse` shows of one media and of several side by side, and how it asks and goes on.
//
// Pages of a PDF, rows of a table, the tree of JSON; two pictures under a slider or as their difference, two texts as
// the lines in which they differ. What the server tells was written by strangers: it is set as text, never as markup.
import { Picture, Text, basicsOf, button, el, modal, number, plural, reason, table, valueText } from "./viewer.js";

export const OVER = ["_open", "_at", "_pair", "_row", "_is", "_mode", "_a", "_b"]; // words of what lies over a list
const SIDES = [96, 160, 256, 512, 960]; // of the pictures that the server makes
const NODES = 200; // entries of a tree that are shown at once
const PIXELS = 4_000_000; // of a difference
const CELLS = 4_000_000; // lines times lines of a text that are compared one by one

// -- addresses and answers --------------------------------------------------------------------------------------------
export const shown = { page: null }; // what is shown: it can `show` an address, and `say` what went wrong
export const words = () => new URLSearchParams(location.search);
export const isNow = (query) => `${query}` === `${words()}`; // else another state came while an answer was waited for
/** A reference as the end of an address; `.` and `..`, which would lead elsewhere, are parts of none. */
export const path = (reference) => {
  const parts = reference.split("/");
  if (parts.some((part) => /^\.{0,2}$/.test(part))) throw new Error("no such media");
  return parts.map(encodeURIComponent).join("/");
};
export const set = (name, value) => (query) => (value ? query.set(name, value) : query.delete(name));
export const mostOf = (pixels) => SIDES.find((side) => side >= pixels * devicePixelRatio) ?? SIDES.at(-1);
export const sized = (thumb, pixels) => `${thumb}${thumb.includes("?") ? "&" : "?"}side=${mostOf(pixels)}`;

export async function api(name, query = "", options = undefined) {
  const answer = await fetch(`api/${name}?${query}`, options)
    .catch(() => { throw new Error("the server does not answer: does it still run?"); });
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  throw new Error([told.error ?? `the server answers ${answer.status}`, told.next_step].filter(Boolean).join(": "));
}

/** Go to another state of the page: Back leads to what was there before, and to where it was scrolled to. */
export function go(change, { replace = false, ...state } = {}) {
  const next = words();
  change(next);
  history.replaceState({ ...history.state, top: scrollY }, "");
  history[replace ? "replaceState" : "pushState"](state, "", `${next}` ? `?${next}` : location.pathname);
  return shown.page.show();
}

/** Leave what lies over the list. */
export function leave() {
  if (history.state?.opened) history.back();
  else go((query) => OVER.forEach((name) => query.delete(name)), { replace: true });
}

/** The words of a list alone, for the server, with others or, where they are null, without them. */
export function listed(query, more = {}) {
  const kept = new URLSearchParams(query);
  for (const name of [...OVER, "offset", "limit", "version", "refresh"]) kept.delete(name);
  for (const [name, value] of Object.entries(more)) if (value === null) kept.delete(name); else kept.set(name, value);
  return `${kept}`;
}

// -- what is shown of a PDF, a table and JSON -------------------------------------------------------------------------
/** Buttons back and on, and where one is. */
export function pager(label, turn) {
  const said = el("output", { "aria-label": label });
  const back = button(`Previous ${label}`, "left", () => turn(-1));
  const on = button(`Next ${label}`, "right", () => turn(1));
  const stop = (event) => event.stopPropagation();
  const element = el("div", { class: "pager", onpointerdown: stop, ondblclick: stop }, back, said, on);
  return { element, update: (text, first, last) => {
    said.textContent = text;
    [back.disabled, on.disabled] = [first, last];
  } };
}

/** A PDF: a picture of each page, when it is looked at. */
class Pages extends Picture {
  constructor(item, { pages, url }, changed) {
    super(item, null, changed);
    Object.assign(this, { pages, address: url.split("?")[0], page: 0 });
    this.pager = pager("page", (by) => this.turn(this.wanted + by));
    this.element.append(this.pager.element);
    this.turn(1);
  }

  /** Show a page; of those that are turned over meanwhile none is asked for. */
  async turn(to) {
    this.wanted = Math.max(1, Math.min(this.pages, to));
    const said = (text) => this.pager.update(text, this.wanted === 1, this.wanted === this.pages);
    said(`Page ${number(this.wanted)} of ${number(this.pages)}`);
    if (this.busy) return;
    this.busy = true;
    while (this.page !== this.wanted) {
      this.page = this.wanted;
      const done = await this.load(`${this.address}?page=${this.page}&side=1600`);
      this.image.alt = `Page ${this.page} of ${this.item.title}`;
      if (!done) said(`Page ${number(this.page)} can't be shown`);
    }
    this.busy = false;
  }

  key(event) {
    const by = { PageDown: 1, PageUp: -1 }[event.key];
    if (by) this.turn(this.wanted + by);
    return Boolean(by) || super.key(event);
  }
}

/** Rows of a table, some hundred at once. */
class Sheet {
  constructor(item, { table: first }) {
    this.item = item;
    this.paper = el("div", { class: "paper sheet", tabindex: "0", role: "region", "aria-label": "Table" });
    this.pager = pager("rows", (by) => this.ask(by < 0 ? Math.max(0, this.offset - this.step) : this.next));
    this.element = el("div", { class: "text" }, this.paper, this.pager.element);
    this.step = first.rows.length;
    this.draw(first);
  }

  async ask(offset) {
    try {
      this.draw(await api(`table/${path(this.item.ref)}`, `offset=${offset}&limit=${this.step}`));
    } catch (error) {
      this.pager.update(error.message, !this.offset, this.next === null);
    }
  }

  draw({ columns, rows, offset = 0, next = null, total }) {
    [this.offset, this.next] = [offset, next];
    const cell = (value) => el("td", { class: typeof value, dir: "auto" }, value === null ? "" : String(value));
    this.paper.replaceChildren(el("table", {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Row"), ...columns.map(({ name, type }) =>
        el("th", { scope: "col" }, el("bdi", {}, name), type ? el("small", {}, type) : null)))),
      el("tbody", {}, ...rows.map((row, nth) =>
        el("tr", {}, el("th", { scope: "row" }, number(offset + nth + 1)), ...row.map(cell))))));
    this.paper.scrollTop = 0;
    const of = total === null || total === undefined ? "" : ` of ${number(total)}`;
    const range = rows.length ? `${number(offset + 1)} to ${number(offset + rows.length)}` : "none";
    this.pager.update(`Rows ${range}${of}`, offset === 0, next === null);
  }
}

/** A number as it is written: some have more digits than fit. */
class Exact {
  constructor(source) {
    this.source = source;
  }
}

/** Read JSON, with its numbers as they are written. */
const exactly = (text) =>
  JSON.parse(text, (_, value, context) => (typeof value === "number" && context ? new Exact(context.source) : value));
const written = (value) => (value instanceof Exact ? value.source : JSON.stringify(value));

/** The values of a list in JSON, or the one that there is, as they are written. */
export const valuesOf = (text) => [exactly(text)].flat().map(written);

/** JSON as a tree whose branches are made when they are opened. */
class Tree {
  constructor(value) {
    const root = this.node("", value);
    this.element = el("div", { class: "text" },
      el("div", { class: "paper tree", tabindex: "0", role: "region", "aria-label": "JSON" }, root));
    if (root.tagName === "DETAILS") root.open = true;
  }

  /** The tree of a text; null where it is no JSON. */
  static of(text) {
    try {
      return new Tree(exactly(text));
    } catch {
      return null;
    }
  }

  node(name, value) {
    const label = name === "" ? null : el("b", {}, el("bdi", {}, `${name}`), ": ");
    if (value === null || typeof value !== "object" || value instanceof Exact)
      return el("div", { class: "leaf" }, label, el("span", { class: typeof value, dir: "auto" },
        written(value)));
    const entries = Array.isArray(value) ? value.map((each, at) => [at, each]) : Object.entries(value);
    const size = Array.isArray(value) ? `[${number(entries.length)}]` : `{${number(entries.length)}}`;
    const branch = el("details", {}, el("summary", {}, label, el("span", { class: "n" }, size)));
    branch.addEventListener("toggle", () => branch.children.length < 2 && this.fill(branch, entries, 0));
    return branch;
  }

  fill(branch, entries, from) {
    branch.append(...entries.slice(from, from + NODES).map(([name, value]) => this.node(name, value)));
    const rest = entries.length - from - NODES;
    if (rest <= 0) return;
    const more = el("button", { type: "button", class: "more", onclick: () => {
      more.remove();
      this.fill(branch, entries, from + NODES);
      branch.children[1 + from + NODES]?.querySelector("summary")?.focus();
    } }, `${number(Math.min(rest, NODES))} more of ${number(rest)}`);
    branch.append(more);
  }
}

/** What shows an original that a gallery has no view for; null for others. */
export function viewOf(item, got, zoomed) {
  if (got.kind === "pages") return new Pages(item, got, zoomed);
  if (got.kind === "table") return new Sheet(item, got);
  if (got.kind === "tree") return Tree.of(got.text) ?? new Text({ ...got, kind: "text" });
  return null;
}

// -- media side by side, at full size ---------------------------------------------------------------------------------
const MODES = { "": "Side by side", slider: "Slider", difference: "Difference", text: "Differences of the text" };

/** Two pictures one over the other: as much of the first as the slider leaves. */
function sliding([one, two], names) {
  const over = el("img", { src: one, alt: names[0] });
  const label = `How much is seen of ${names[0]}`;
  const range = el("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50, "aria-label": label });
  const show = () => { over.style.clipPath = `inset(0 ${100 - range.value}% 0 0)`; };
  const drag = ({ buttons, clientX, currentTarget }) => {
    const { left, width } = currentTarget.getBoundingClientRect();
    if (buttons) range.value = ((clientX - left) / width) * 100;
    show();
  };
  range.addEventListener("input", show);
  show();
  return el("div", { class: "sliding" }, el("div", { class: "two", onpointerdown: drag, onpointermove: drag },
    el("img", { src: two, alt: names[1] }), over), range);
}

/** The pixels in which two pictures differ, brighter the more; the second is scaled to the size of the first. */
async function difference(urls) {
  const images = await Promise.all(urls.map(async (src) => {
    const image = Object.assign(new Image(), { src });
    await image.decode();
    return image;
  }));
  const [{ naturalWidth: wide, naturalHeight: high }, other] = images;
  const scale = Math.min(1, Math.sqrt(PIXELS / (wide * high)));
  const [width, height] = [Math.max(1, Math.round(wide * scale)), Math.max(1, Math.round(high * scale))];
  const canvas = el("canvas", { width, height, role: "img", "aria-label": "Where the pictures differ" });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const [one, two] = images.map((image) => {
    context.clearRect(0, 0, width, height);
    context.drawImage(image, 0, 0, width, height);
    return context.getImageData(0, 0, width, height);
  });
  let [differ, most] = [0, 0];
  for (let at = 0; at < one.data.length; at += 4) {
    let largest = 0;
    for (let channel = 0; channel < 4; channel += 1)
      largest = Math.max(largest, Math.abs(one.data[at + channel] - two.data[at + channel]));
    if (largest) differ += 1;
    most = Math.max(most, largest);
    one.data.fill(Math.min(255, largest * 4), at, at + 3);
    one.data[at + 3] = 255;
  }
  context.putImageData(one, 0, 0);
  const share = ((differ / (width * height)) * 100).toFixed(differ ? 2 : 0);
  const sizes = other.naturalWidth === wide && other.naturalHeight === high ? ""
    : `; the second, ${other.naturalWidth} \u00d7 ${other.naturalHeight}, is scaled to ${wide} \u00d7 ${high}`;
  const said = differ ? `${share} % of the pixels differ, by at most ${most} of 255; shown four times as bright${sizes}`
    : `No pixel differs${sizes}`;
  return el("div", { class: "sliding" }, el("div", { class: "two" }, canvas), el("p", { role: "status" }, said));
}

/** Lines of two texts as [sign, line]: the longest common ones stay, of very many only those at both ends. */
function changes(one, two) {
  const [a, b] = [one.split("\n"), two.split("\n")];
  let [begin, end] = [0, 0];
  while (begin < Math.min(a.length, b.length) && a[begin] === b[begin]) begin += 1;
  while (end < Math.min(a.length, b.length) - begin && a.at(-1 - end) === b.at(-1 - end)) end += 1;
  const [left, right] = [a.slice(begin, a.length - end), b.slice(begin, b.length - end)];
  const [wide, small] = [right.length + 1, left.length * right.length <= CELLS];
  const common = small ? new Uint32Array((left.length + 1) * wide) : null;
  for (let i = left.length - 1; small && i >= 0; i -= 1)
    for (let j = right.length - 1; j >= 0; j -= 1)
      common[i * wide + j] = left[i] === right[j] ? common[(i + 1) * wide + j + 1] + 1
        : Math.max(common[(i + 1) * wide + j], common[i * wide + j + 1]);
  const found = a.slice(0, begin).map((line) => [" ", line]);
  for (let [i, j] = [0, 0]; i < left.length || j < right.length;) {
    if (small && i < left.length && j < right.length && left[i] === right[j]) {
      found.push([" ", left[i]]);
      [i, j] = [i + 1, j + 1];
    } else if (i < left.length
      && (j === right.length || !small || common[(i + 1) * wide + j] >= common[i * wide + j + 1]))
      found.push(["-", left[i++]]);
    else found.push(["+", right[j++]]);
  }
  return [...found, ...a.slice(a.length - end).map((line) => [" ", line])];
}

/** The differences of two texts; of what is equal only the lines next to them. */
function differing(texts) {
  const lines = changes(...texts);
  const near = lines.map((_, at) => lines.slice(Math.max(0, at - 3), at + 4).some(([sign]) => sign !== " "));
  const made = [];
  for (let at = 0, skipped = 0; at <= lines.length; at += 1) {
    if (at < lines.length && !near[at]) skipped += 1;
    else {
      if (skipped) made.push(el("div", { class: "n" }, `${plural(skipped, "equal line")}`));
      skipped = 0;
      const [sign, line] = lines[at] ?? ["", ""];
      const tag = { "-": "del", "+": "ins" }[sign] ?? "div";
      if (sign) made.push(el(tag, {}, el("span", { class: "n" }, `${sign} `), line));
    }
    if (made.length > 20 * NODES) {
      made.push(el("div", { class: "n" }, "\u2026 and more"));
      break;
    }
  }
  return el("div", { class: "text" }, el("div", {
    class: "paper changes", tabindex: "0", role: "region", "aria-label": "Differences", dir: "auto",
  }, ...made));
}

/** Media as columns in a dialog: `find` tells of an address what they are, and `turn` goes to another row. */
export class Row {
  constructor(root, find, turn) {
    Object.assign(this, { root, find, turn, views: [], columns: [] });
    this.title = el("h2", { id: "row" });
    this.modes = el("div", { class: "kinds", role: "group", "aria-label": "How they are compared" });
    this.pair = el("div", { class: "pair" });
    this.back = button("Previous row", "left", () => turn(-1));
    this.next = button("Next row", "right", () => turn(1));
    this.main = el("div", { class: "main" });
    this.below = el("div", { class: "columns" });
    this.element = modal("lightbox rows", "row", (event) => this.keydown(event), leave,
      el("header", {}, this.title, this.modes, this.pair, el("span", { class: "spring" }), this.back, this.next,
        button("Close (Esc)", "close", leave)), el("div", { class: "all", tabindex: "0" }, this.main, this.below));
  }

  keydown(event) {
    event.stopPropagation();
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    // What scrolls sideways keeps the keys that scroll it.
    const { target } = event;
    if (by && !target.matches("input, select, video, audio") && target.scrollWidth <= target.clientWidth) this.turn(by);
  }

  async follow(query) {
    const found = await this.find(query);
    if (!isNow(query) || (found === this.found && !found)) return;
    this.found = found;
    if (!found) {
      this.clear();
      this.element.close();
      this.opener?.focus();
      return;
    }
    if (!this.element.open) {
      this.opener = this.root.activeElement;
      this.element.showModal();
    }
    await this.draw(query, found);
  }

  clear() {
    this.drawn = null;
    const focused = this.root.activeElement;
    // What has the focus goes: keys must still be heard.
    if (this.main.contains(focused) || this.below.contains(focused)) this.element.focus({ preventScroll: true });
    for (const view of this.views) view.destroy?.();
    this.views = [];
    this.main.replaceChildren();
    this.below.replaceChildren();
  }

  async draw(query, { name, columns, at, total }) {
    const turn = (this.turns = (this.turns ?? 0) + 1);
    const key = columns.map(({ item }) => item.ref).join("\n");
    if (key !== this.key) this.originals = new Map();
    this.key = key;
    this.title.replaceChildren(el("bdi", {}, name));
    [this.back.hidden, this.next.hidden] = [total === undefined, total === undefined];
    [this.back.disabled, this.next.disabled] = [at === 0, at === total - 1];
    const kinds = { slider: "image", difference: "image", text: "text" };
    const fit = (mode) => columns.filter(({ item }) => item.kind === kinds[mode]);
    const modes = Object.keys(MODES).filter((mode) => !mode || fit(mode).length > 1);
    const mode = modes.includes(query.get("_mode")) ? query.get("_mode") : "";
    const among = fit(mode);
    const two = mode ? ["_a", "_b"].map((word, nth) => among[query.get(word) ?? nth] ?? among[nth]) : [];
    const drawn = JSON.stringify([mode, two.map(({ item }) => item.ref), columns.map(({ heading, item, same }) =>
      [heading, same, item.ref, item.caption, item.attributes])]);
    if (drawn === this.drawn) return; // what is opened in it, or plays, stays so
    this.clear();
    this.drawn = drawn;
    const pressed = this.modes.contains(this.root.activeElement);
    this.modes.hidden = modes.length < 2;
    this.modes.replaceChildren(...modes.map((each) => el("button", {
      type: "button", "aria-pressed": String(each === mode),
      onclick: () => go(set("_mode", each), { replace: true, ...history.state }),
    }, MODES[each])));
    if (pressed) this.modes.children[modes.indexOf(mode)].focus();
    this.pair.replaceChildren(...(among.length > 2 ? ["_a", "_b"] : []).map((word, nth) => el("select", {
      "aria-label": nth ? "with" : "Compare",
      onchange: ({ currentTarget }) => go(set(word, currentTarget.value), { replace: true, ...history.state }),
    }, ...among.map((each, value) => el("option", { value, selected: each === two[nth] }, each.heading)))));
    const below = (mode ? two : columns).map((column) => this.column(column, columns, !mode));
    this.below.replaceChildren(...below.map(([element]) => element));
    this.below.style.setProperty("--columns", below.length);
    if (!mode) await Promise.all(below.map(([, fill]) => fill()));
    else {
      const made = await this.compared(mode, two);
      if (turn === this.turns) this.main.replaceChildren(made);
    }
  }

  async compared(mode, two) {
    const got = await Promise.all(two.map(({ item }) => this.original(item)));
    const wrong = got.find(({ kind, text }) => (mode === "text" ? text === undefined : kind !== "image"));
    if (wrong) return reason(wrong.why || "it is nothing that can be compared so");
    const urls = got.map(({ url }) => url);
    if (mode === "text") return differing(got.map(({ text }) => text));
    if (mode === "slider") return sliding(urls, two.map(({ heading }) => heading));
    return difference(urls).catch(() => reason("this browser can't show them"));
  }

  original(item) {
    if (!this.originals.has(item.ref)) {
      const why = (error) => ({ kind: "none", why: error.message });
      this.originals.set(item.ref, api(`original/${path(item.ref)}`).catch(why));
    }
    return this.originals.get(item.ref);
  }

  /** A column, and what fills its stage. */
  column({ heading, item, same }, columns, whole) {
    const stage = el("div", { class: "stage" });
    const element = el("section", {}, el("h3", {}, el("bdi", {}, heading)), whole ? stage : null,
      el("div", { class: "facts" }, el("p", {}, el("bdi", {}, item.title)),
        same ? el("p", { class: "wrong" }, same) : null, ...attributesOf(item, columns.map((each) => each.item))));
    return [element, async () => {
      const got = await this.original(item);
      let view = viewOf(item, got, () => {});
      if (got.kind === "image") {
        view = new Picture(item, item.thumb ? sized(item.thumb, 512) : null, () => {});
        view.load(got.url);
      }
      if (/^(audio|video)$/.test(got.kind))
        view = { element: el(got.kind, {
          controls: true, preload: "metadata", src: got.url, "aria-label": item.title,
        }) };
      if (/^(text|html)$/.test(got.kind)) view = new Text(got);
      if (!stage.isConnected) return view?.destroy?.();
      if (view) this.views.push(view);
      stage.replaceChildren(view?.element ?? reason(got.why));
      return view?.fit?.();
    }];
  }
}

/** Facts and attributes of a media; those in which others differ are marked. */
export function attributesOf(item, others) {
  const differs = (name) => new Set(others.map((each) => valueText(each.attributes?.[name] ?? ""))).size > 1;
  const rows = Object.entries(item.attributes ?? {}).map(([name, value]) =>
    [differs(name) ? `\u2260 ${name}` : name, valueText(value)]);
  return [table("Facts", [...basicsOf(item), ["Caption", item.caption]]), table("Attributes", rows)].filter(Boolean);
}

