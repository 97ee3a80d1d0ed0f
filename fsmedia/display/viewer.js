// The viewer: a wall of pictures with search, filters and sorting, and a lightbox over all of the result.
//
// One module without imports, for three hosts: a saved page (`start`), a notebook widget (the default export) and
// whatever else calls `mount`. It draws in a shadow root from plain data (`Gallery.data`) and asks its host for
// original bytes. Captions, names, attributes and texts are strangers': they are set as text, never as markup.

const DAY = 86_400;
const NEAR = 7 * DAY; // seconds; what expires within it is marked
const FEW = 12; // values of a field that can be filtered and grouped by
const GAP = 8; // pixels between cards
const GROUP_GAP = 28; // pixels between groups that share a row
const LINE = 22; // height of the line of facts under a picture
const HEADING = 30; // height of the heading of a group
const TIGHT = 1.35; // how much too wide groups may be that share a row, which is made smaller
const LOOSE = 1.25; // by how much a row is made larger at most
const NARROW_GROUP = 132; // least width of a group: its heading must be readable
const SIZES = { least: 72, most: 420 }; // height of a row of pictures
const usualSize = (media) => (media < 5 ? 260 : media < 16 ? 180 : 124); // few need no overview
const MARGIN = 24; // pixels left and right, above and below a whole picture, together
const KEPT = 8; // originals that stay in memory
const AHEAD = 4 * 2 ** 20; // largest original, in bytes, that is fetched before it is asked for
const RATING = "rating"; // `user.rating` among the xattrs of a sidecar
const CANNOT_PLAY = "this browser can't play it: save it";
const BEYOND = "beyond the budget of this file: open it from the store";

const KINDS = { image: "Images", video: "Films", audio: "Sounds", text: "Texts", file: "Files" };
const ONE_OF = { image: "picture", video: "film", audio: "sound", text: "text", file: "file" };

const ICONS = {
  audio: "M9 18V6l11-2v12M9 18a3 3 0 1 1-6 0 3 3 0 0 1 6 0zM20 16a3 3 0 1 1-6 0 3 3 0 0 1 6 0z",
  check: "M5 12.5l4.5 4.5L19 7.5",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  file: "M6 3h8l5 5v13H6zM14 3v5h5",
  filter: "M4 6h16M7 12h10M10 18h4",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
  info: "M12 11v6M12 7.5h.01M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0z",
  left: "M15 5l-7 7 7 7",
  minus: "M5 12h14",
  pause: "M8 5v14M16 5v14",
  play: "M8 5l11 7-11 7z",
  plus: "M5 12h14M12 5v14",
  right: "M9 5l7 7-7 7",
  text: "M5 6h14M5 10h14M5 14h14M5 18h8",
  video: "M4 6h11v12H4zM15 10l5-3v10l-5-3",
};

// -- elements ---------------------------------------------------------------------------------------------------------
const FOCUSABLE = new Set(["a", "audio", "button", "input", "select", "summary", "video"]);

/** Make an element; `on…` are listeners, children are elements or texts. */
function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  // JupyterLab's one-letter commands (x cuts the cell) act on whatever has the focus, unless it says so.
  if (FOCUSABLE.has(tag) || "tabindex" in properties) made.setAttribute("data-lm-suppress-shortcuts", "true");
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

function svg(viewBox, paths, properties = {}) {
  const space = "http://www.w3.org/2000/svg";
  const made = document.createElementNS(space, "svg");
  for (const [name, value] of Object.entries({ viewBox, "aria-hidden": "true", ...properties }))
    made.setAttribute(name, value);
  for (const path of paths) {
    const drawn = document.createElementNS(space, "path");
    for (const [name, value] of Object.entries(path)) drawn.setAttribute(name, value);
    made.append(drawn);
  }
  return made;
}

const icon = (name) => svg("0 0 24 24", [{ d: ICONS[name] }], { class: "icon" });

function button(label, name, onclick, properties = {}) {
  return el("button", { type: "button", class: "tool", "aria-label": label, title: label, onclick, ...properties },
    name.length === 1 ? name : icon(name));
}

/** Copy a text, and say on the button that it is done. */
async function copy(text, pressed) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Frames without the permission: the old way needs a selected field that is not inert, so beside the button.
    const area = el("textarea", { class: "away", "aria-hidden": "true" });
    area.value = text;
    pressed.after(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
    pressed.focus();
  }
  const label = pressed.querySelector("span");
  const before = label.dataset.label ?? label.textContent;
  label.dataset.label = before;
  label.textContent = done ? "Copied" : "Select it";
  setTimeout(() => { label.textContent = before; }, 1500);
}

const copier = (label, text) =>
  el("button", { type: "button", class: "copy", onclick: (event) => copy(text(), event.currentTarget) },
    icon("copy"), el("span", {}, label));

/** A list to choose from, with its name before it; `options` are pairs of a value and its text. */
function choice(label, options, onchange, chosen = undefined) {
  return el("label", { class: "choice" }, el("span", {}, label), el("select", { onchange, "aria-label": label },
    ...options.map(([value, text]) => el("option", { value, selected: value === chosen }, text))));
}

/** The slider for the size of the pictures. */
function sizeSlider(viewer) {
  const label = "Size of the pictures";
  return el("label", { class: "size", title: label }, icon("image"), el("input", {
    type: "range", min: SIZES.least, max: SIZES.most, step: 4, value: viewer.size, "aria-label": label,
    oninput: (event) => viewer.resize(Number(event.currentTarget.value)),
  }));
}

/** The button that shows and hides a panel of filters. */
function filtersButton(panel, toggle) {
  return el("button", {
    type: "button", class: "filters", "aria-expanded": String(!panel.hidden), "aria-controls": panel.id,
    onclick: () => toggle(),
  }, icon("filter"), el("span", {}, "Filters"));
}

/** What narrows a view, and a click takes it away. */
const chip = (text, label, onclick) =>
  el("button", { type: "button", class: "chip", title: text, "aria-label": `Remove the ${label}`, onclick },
    el("bdi", {}, text), icon("close"));

/** A modal dialog; it takes the focus itself where somebody clicks beside its buttons: no key goes behind it. */
function modal(name, title, keydown, close, ...children) {
  return el("dialog", {
    class: name, "aria-modal": "true", role: "dialog", "aria-labelledby": title, tabindex: "-1",
    onkeydown: keydown, oncancel: (event) => {
      event.preventDefault();
      close();
    },
  }, ...children);
}

/** What stands for a media without a picture. */
function signOf(item) {
  const ending = /\.([a-z0-9]{1,5})$/i.exec(item.name ?? "")?.[1] ?? "";
  return el("span", { class: "sign" }, icon(KINDS[item.kind] ? item.kind : "file"),
    el("b", {}, ending.toUpperCase() || item.type), item.why ? el("span", {}, item.why) : null);
}

// -- texts ------------------------------------------------------------------------------------------------------------
const number = (value) => value.toLocaleString("en");
const plural = (count, name) => `${number(count)} ${name}${count === 1 || name === "media" ? "" : "s"}`;

function sizeText(size) {
  if (size < 1024) return `${size} B`;
  const power = Math.min(4, Math.floor(Math.log2(size) / 10));
  return `${(size / 1024 ** power).toFixed(1)} ${["KiB", "MiB", "GiB", "TiB"][power - 1]}`;
}

/** A length or a position in one; below ten seconds with a tenth. */
function lengthText(seconds, tenths = seconds < 10) {
  if (tenths) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value) => String(value).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

const instant = (seconds) => new Date(seconds * 1000);
const timeText = (seconds) => `${instant(seconds).toISOString().slice(0, 19).replace("T", " ")} UTC`;
const dayText = (seconds) =>
  instant(seconds).toLocaleDateString("en", { day: "numeric", month: "short", timeZone: "UTC" });

function untilText(seconds) {
  if (seconds <= 0) return "expired";
  if (seconds < 3600) return `${Math.max(1, Math.floor(seconds / 60))} min left`;
  return seconds < DAY ? `${Math.floor(seconds / 3600)} h left` : `${plural(Math.floor(seconds / DAY), "day")} left`;
}

const valueText = (value) => (Array.isArray(value) ? value.join(", ") : String(value));

/** What is near or odd of a media, as marks: [class, short text, whole sentence]. */
function marksOf(item, now) {
  const marks = item.wrong?.length ? [["wrong", "!", item.wrong.join("; ")]] : [];
  if (item.held) marks.push(["held", "held", "held: it is kept whatever its policy says"]);
  else if (item.expires && item.expires - now <= NEAR) {
    const left = untilText(item.expires - now);
    marks.push([item.expires <= now ? "wrong" : "soon", left, left === "expired" ? left : `expires: ${left}`]);
  }
  return marks;
}

// -- what is shown: fields, filters, sorting, groups ------------------------------------------------------------------
const FIELDS = ["kind", "type", "provider", "run", "session", "conversation", "policy"];
const byName = new Intl.Collator("en", { numeric: true });

/** What media can be filtered and grouped by, here their own fields: values as texts, "" where there is none. */
const ownField = (name) => ({ id: name, label: name, of: (item) => [item[name] || ""] });

/** The same for an attribute, of which a media may have several values. */
function attributeField(name) {
  const values = (item) => {
    const value = item.attributes?.[name];
    return Array.isArray(value) ? (value.length ? value : [""]) : [value ?? ""];
  };
  return { id: `attribute ${name}`, label: name, of: (item) => values(item).map(String) };
}

class Library {
  constructor(data) {
    this.items = data.items;
    this.texts = new Map();
    this.attributes = new Set(this.items.flatMap((item) => Object.keys(item.attributes ?? {})));
    this.numeric = [...this.attributes].filter((name) => this.differs((item) => {
      const value = item.attributes?.[name];
      return typeof value === "number" ? value : undefined;
    }));
    this.model = [...this.attributes].find((name) => /(^|[._])model(_name)?$/i.test(name));
    this.survey();
  }

  /** What the values allow: the fields to filter by, and the ways to sort and to group. */
  survey() {
    this.fields = this.fewValued();
    this.sorts = this.waysToSort();
    this.groupings = this.waysToGroup();
  }

  /** Whether two media differ in a value that both have. */
  differs(value) {
    return new Set(this.items.map(value).filter((each) => each !== undefined && each !== "" && each !== null)).size > 1;
  }

  /** The fields with few values; what tells every media apart is no filter. */
  fewValued() {
    const kinds = new Set(this.items.map((item) => item.kind)).size;
    return [...FIELDS.map(ownField), ...[...this.attributes].map(attributeField)].filter(({ id, of }) => {
      const values = this.items.flatMap(of);
      const distinct = new Set(values).size;
      return distinct > 1 && distinct <= FEW && distinct < values.length && (id !== "type" || distinct > kinds);
    });
  }

  textOf(index) {
    if (!this.texts.has(index)) {
      const item = this.items[index];
      const attributes = Object.values(item.attributes ?? {}).flat().filter((value) => typeof value === "string");
      const parts = [item.title, item.caption, item.run, item.session, item.conversation, item.provider];
      this.texts.set(index, [...parts, ...attributes].filter(Boolean).join("\n").toLowerCase());
    }
    return this.texts.get(index);
  }

  /** The media that fit, in the order in which they were chosen; `except` leaves one filter out. */
  fitting({ search, chosen }, except = "") {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    // References are full of numbers, which would fit any search: they are found by what looks like one.
    const searched = (index, word) => (word.includes("/") ? this.items[index].ref.toLowerCase() : this.textOf(index));
    const wanted = [...chosen.values()].filter(({ field: { id }, values }) => id !== except && values.size);
    return this.items.map((_, index) => index).filter((index) =>
      wanted.every(({ field: { of }, values }) => of(this.items[index]).some((value) => values.has(value)))
      && words.every((word) => searched(index, word).includes(word)));
  }

  /** How many of what fits the other filters have each value. */
  counts(counted, query) {
    const counts = new Map();
    for (const index of this.fitting(query, counted.id))
      for (const value of new Set(counted.of(this.items[index]))) counts.set(value, (counts.get(value) ?? 0) + 1);
    return counts;
  }

  /** The ways to sort: [id, label, item => key, direction]. */
  waysToSort() {
    const sorts = [["", "as chosen", null, 1]];
    const add = (label, key, step) => sorts.push([label, label, key, step]);
    if (this.differs((item) => item.time)) {
      add("newest first", (item) => item.time, -1);
      add("oldest first", (item) => item.time, 1);
    }
    add("largest first", (item) => item.size, -1);
    add("smallest first", (item) => item.size, 1);
    add("by name", (item) => item.title, 1);
    for (const name of this.numeric) {
      const key = (item) => (typeof item.attributes?.[name] === "number" ? item.attributes[name] : undefined);
      add(`${name}, highest first`, key, -1);
      add(`${name}, lowest first`, key, 1);
    }
    return sorts;
  }

  sorted(indices, sort) {
    const [, , key, step] = this.sorts.find(([id]) => id === sort) ?? [];
    if (!key) return indices;
    const missing = (value) => value === undefined || value === null;
    return indices.sort((a, b) => {
      const [one, two] = [key(this.items[a]), key(this.items[b])];
      // What has no value comes last, whatever the direction.
      if (missing(one) || missing(two)) return missing(one) - missing(two) || a - b;
      return (typeof one === "string" ? byName.compare(one, two) : one - two) * step || a - b;
    });
  }

  /** The ways to group: [id, label, item => heading]. */
  waysToGroup() {
    const several = (name) => this.differs((item) => item[name]);
    const ways = [["", "no groups", null]];
    const any = (name) => this.items.some((item) => item[name]);
    // What is particular comes first: headings of small groups are cut at their end.
    const joined = (...parts) => parts.filter(Boolean).join(" \u00b7 ");
    const where = (name) => (several(name) ? (item) => item[name] : () => "");
    const [run, conversation] = [where("run"), where("conversation")];
    if (any("run")) ways.push(["run", "run", (item) => item.run || "no run"]);
    if (any("conversation"))
      ways.push(["conversation", "conversation", (item) => joined(item.conversation || "no conversation", run(item))]);
    if (this.differs((item) => item.message))
      ways.push(["message", "message", (item) => joined(`#${item.message ?? 0}`, conversation(item), run(item))]);
    for (const { id, label, of } of this.fields)
      if (!ways.some(([known]) => known === id))
        ways.push([id, label, (item) => of(item).map((value) => value || `no ${label}`).join(", ")]);
    return ways;
  }

  /** The result of a query: groups in the order in which they first appear, and all media in the order shown. */
  result(query) {
    const indices = this.sorted(this.fitting(query), query.sort);
    const [, , heading] = this.groupings.find(([id]) => id === query.group) ?? [];
    const groups = new Map();
    for (const index of indices) {
      const label = heading ? heading(this.items[index]) : "";
      if (!groups.has(label)) groups.set(label, { label, indices: [], bytes: 0 });
      const group = groups.get(label);
      group.indices.push(index);
      group.bytes += this.items[index].size ?? 0;
    }
    return { groups: [...groups.values()], order: [...groups.values()].flatMap((group) => group.indices) };
  }
}

// -- the wall: rows of one height, justified --------------------------------------------------------------------------
function aspectOf(item) {
  if (item.kind === "text") return 1.25;
  if (item.kind === "audio") return 1.9;
  const known = item.w && item.h && (item.thumb || item.kind === "image" || item.kind === "video");
  return known ? Math.min(2.6, Math.max(0.56, item.w / item.h)) : 1.3;
}

/** Rows of one height, justified to the width of the wall; small groups share one. */
class Layout {
  constructor(width, height, headed) {
    Object.assign(this, { width, height, headed, rows: [], bottom: 0 });
    this.open();
  }

  open() {
    [this.cells, this.headings, this.end, this.shared] = [[], [], -GAP, false];
  }

  /** Place a group: beside the one before it where all of it fits, else from a row of its own. */
  add({ indices }, group, aspect) {
    const widths = indices.map((index) => Math.min(this.width, aspect(index) * this.height));
    const natural = widths.reduce((sum, each) => sum + each + GAP, -GAP);
    const least = Math.max(natural, NARROW_GROUP);
    const shares = this.cells.length > 0 && this.end + GROUP_GAP + least <= this.width * TIGHT;
    if (!shares) this.close();
    this.shared ||= shares;
    const begin = shares ? this.end + GROUP_GAP : 0;
    if (this.headed) this.headings.push({ group, x: begin, width: Math.min(least, this.width) });
    this.end = begin - GAP;
    widths.forEach((width, nth) => {
      // A row ends where one more picture would shrink it by more than its lack stretches it.
      if (nth && !shares && this.end + GAP + width / 2 > this.width) this.close();
      this.cells.push({ index: indices[nth], group, x: this.end + GAP, width });
      this.end += GAP + width;
    });
    if (natural > this.width && !shares) this.close();
    else this.end = Math.max(this.end, begin + NARROW_GROUP);
  }

  /** End a row: all of it smaller or larger so that it fills the wall, unless it is far too short for that. */
  close() {
    if (!this.cells.length) return;
    const gap = this.shared ? 0 : GAP; // stays what it is; between groups it shrinks with the row
    const gaps = gap * (this.cells.length - 1);
    const factor = this.end * LOOSE < this.width ? 1 : (this.width - gaps) / (this.end - gaps);
    const y = this.bottom;
    const top = y + (this.headings.length ? HEADING : 0);
    const height = Math.round(this.height * factor);
    this.cells.forEach((cell, nth) => {
      const left = (cell.x - gap * nth) * factor + gap * nth;
      const right = left + cell.width * factor;
      Object.assign(cell, { x: Math.round(left), y: top, width: Math.round(right) - Math.round(left), height });
    });
    for (const each of this.headings) Object.assign(each, { y, x: each.x * factor, width: each.width * factor });
    this.rows.push({ cells: this.cells, headings: this.headings, y, bottom: top + height + LINE });
    this.bottom = top + height + LINE + GAP;
    this.open();
  }
}

class Wall {
  constructor(viewer) {
    this.viewer = viewer;
    this.cards = new Map(); // index -> element, of what is drawn
    this.sections = new Map(); // number of a group -> { section, list }
    this.current = 0; // position in the order of the card that takes the focus
    this.anchor = 0; // where a range of selected cards begins
    this.canvas = el("div", { class: "canvas" });
    this.element = el("div", { class: "wall", onkeydown: (event) => viewer.handled(event, this.key(event)) },
      this.canvas);
    this.watch = new ResizeObserver(() => {
      // The height follows the width: what only grew taller is no news.
      if (this.canvas.clientWidth !== this.width) this.rearrange();
    });
    this.watch.observe(this.canvas);
    this.onscroll = () => {
      this.waiting ??= requestAnimationFrame(() => {
        this.waiting = null;
        if (this.canvas.isConnected) this.draw(); // an output that was cleared has no say in it
      });
    };
    // Scrolling does not bubble, and who scrolls is the host's business: the wall, the page, or a pane of a notebook.
    addEventListener("scroll", this.onscroll, { capture: true, passive: true });
    addEventListener("resize", this.onscroll);
  }

  destroy() {
    this.watch.disconnect();
    cancelAnimationFrame(this.waiting);
    removeEventListener("scroll", this.onscroll, { capture: true });
    removeEventListener("resize", this.onscroll);
  }

  /** Show another result; the current media stays the current one where it is still there. */
  show(result) {
    const kept = this.result ? result.order.indexOf(this.result.order[this.current]) : 0;
    this.result = result;
    this.current = this.anchor = Math.max(0, kept);
    this.canvas.replaceChildren();
    this.cards.clear();
    this.sections.clear();
    this.place();
  }

  place() {
    this.width = this.canvas.clientWidth;
    this.plan = null;
    if (!this.width || !this.result) return; // hidden: the observer calls again
    this.plan = this.planned();
    this.canvas.style.height = `${this.plan.bottom}px`;
    this.draw();
  }

  /** Where everything stands: rows of cells and headings, and how tall all is. */
  planned() {
    const { size, library, query } = this.viewer;
    const plan = new Layout(this.width, Math.min(size, this.width), Boolean(query.group));
    this.result.groups.forEach((group, at) => plan.add(group, at, (index) => aspectOf(library.items[index])));
    plan.close();
    return plan;
  }

  /** Place the cards anew, for another size or width: what is seen first stays where it is. */
  rearrange() {
    const from = this.view().top - this.canvas.getBoundingClientRect().top;
    const row = from > 0 && this.plan?.rows.find(({ bottom }) => bottom > from);
    const before = row ? { ...row.cells[0] } : null;
    this.place();
    const after = before && this.plan?.rows.flatMap(({ cells }) => cells).find(({ index }) => index === before.index);
    if (!after) return;
    (this.viewer.boxed ? this.element : document.scrollingElement).scrollTop += after.y - before.y;
    this.draw();
  }

  /** Where cards are seen: in the box, or in the window below the bar, which stays there. */
  view() {
    if (this.viewer.boxed) return this.element.getBoundingClientRect();
    return { top: Math.max(0, this.viewer.bar.element.getBoundingClientRect().bottom), bottom: innerHeight };
  }

  /** What of the canvas can be seen, and as much again before and behind it. */
  range() {
    const { top } = this.canvas.getBoundingClientRect();
    const box = this.view();
    const more = Math.min(1000, box.bottom - box.top);
    return [box.top - top - more, box.bottom - top + more];
  }

  draw() {
    if (!this.plan) return;
    const [from, to] = this.viewer.printing ? [-Infinity, Infinity] : this.range();
    const focused = this.result.order[this.current];
    const wanted = new Map();
    for (const row of this.plan.rows) {
      const seen = row.bottom >= from && row.y <= to;
      // The card that has or takes the focus is always there: Tab finds it, and scrolling does not lose it.
      for (const cell of row.cells) if (seen || cell.index === focused) wanted.set(cell.index, cell);
    }
    for (const [index, card] of this.cards)
      if (!wanted.has(index)) {
        card.remove();
        this.cards.delete(index);
      }
    const last = new Map(); // group -> the card behind which its next one stands
    for (const cell of wanted.values()) this.put(cell, last);
    for (const [at, { section, list }] of this.sections)
      if (!list.firstChild) {
        section.remove();
        this.sections.delete(at);
      }
    for (const row of this.plan.rows)
      for (const heading of row.headings) this.head(heading);
  }

  put(cell, last) {
    const { list } = this.section(cell.group);
    if (!this.cards.has(cell.index)) this.cards.set(cell.index, this.card(cell.index));
    const card = this.cards.get(cell.index);
    const next = last.has(cell.group) ? last.get(cell.group).nextSibling : list.firstChild;
    // Cards that stand where they belong are not moved: a moved element loses the focus.
    if (next !== card) list.insertBefore(card, next);
    last.set(cell.group, card);
    const { style } = card;
    [style.left, style.top] = [`${cell.x}px`, `${cell.y}px`];
    style.width = `${cell.width}px`;
    style.setProperty("--high", `${cell.height}px`);
    this.mark(card, cell.index);
  }

  /** The section of a group; those that are drawn stand in the order of the groups. */
  section(at) {
    if (!this.sections.has(at)) {
      const { label } = this.result.groups[at];
      const list = el("ul", { "aria-label": label || "Media" });
      const section = el("section", {}, list);
      const later = [...this.sections.keys()].filter((each) => each > at);
      const next = later.length ? this.sections.get(Math.min(...later)).section : null;
      this.canvas.insertBefore(section, next);
      this.sections.set(at, { section, list });
    }
    return this.sections.get(at);
  }

  head({ group, x, y, width }) {
    const found = this.sections.get(group);
    if (!found) return;
    const { label, indices, bytes } = this.result.groups[group];
    found.heading ??= found.section.insertBefore(
      el("h3", { title: `${label}: ${plural(indices.length, "media")}, ${sizeText(bytes)}` },
        el("bdi", {}, label), el("span", {}, number(indices.length))), found.list);
    const { style } = found.heading;
    [style.left, style.top, style.width] = [`${x}px`, `${y}px`, `${width}px`];
  }

  card(index) {
    const { library, data } = this.viewer;
    const item = library.items[index];
    const position = this.result.order.indexOf(index);
    const marks = marksOf(item, data.now);
    const rating = item.attributes?.[RATING];
    const length = item.seconds ? lengthText(item.seconds) : item.pages > 1 ? `${item.pages} p.` : "";
    const label = this.nameOf(item, marks, rating);
    const opener = el("button", {
      type: "button", class: "open", tabindex: "-1", "aria-haspopup": "dialog", "aria-label": label,
      title: marks.map(([, , whole]) => whole).join("\n") || null, onclick: (event) => this.open(index, event),
      onfocus: () => this.focusedAt(index),
    });
    // Texts lie over the button and not in it: its name says all of them.
    const over = el("div", { class: "over", "aria-hidden": "true" },
      marks.length ? el("span", { class: "marks" },
        ...marks.map(([style, short]) => el("span", { class: `mark ${style}` }, short))) : null,
      length ? el("span", { class: "length" }, item.kind === "video" ? icon("play") : "", length) : null,
      rating ? el("span", { class: "stars" }, "\u2605".repeat(Math.min(5, Number(rating) || 0))) : null);
    this.preview(item, index, opener, over);
    const check = el("input", {
      type: "checkbox", class: "check", tabindex: "-1", "aria-label": `Select ${item.title}`, title: "Select (x)",
      onclick: (event) => this.viewer.choose(position, event.shiftKey, event.currentTarget.checked),
    });
    return el("li", { class: "card", "aria-posinset": position + 1, "aria-setsize": this.result.order.length },
      opener, over, check, this.line(item));
  }

  nameOf(item, marks, rating) {
    return [
      item.title, ONE_OF[item.kind], item.w && item.h ? `${item.w} by ${item.h}` : "",
      item.seconds ? lengthText(item.seconds) : "", item.caption, ...marks.map(([, , whole]) => whole),
      rating ? `rated ${rating}` : "",
    ].filter(Boolean).join(", ");
  }

  /** One line of what differs: what it is called, then model, run and time, where these tell media apart. */
  line(item) {
    const { library, query } = this.viewer;
    const headed = (name) => name === query.group || (name === "run" && /^(conversation|message)$/.test(query.group));
    const facts = this.viewer.telling.filter(([name]) => !headed(name)).map(([, text]) => text(item));
    const first = (library.items.length < 2 || this.viewer.captioned) && item.caption ? item.caption : item.title;
    const rest = facts.filter(Boolean);
    return el("p", { class: "line", title: [first, ...rest].join(" \u00b7 ") }, el("bdi", {}, first),
      rest.length ? el("span", {}, ` \u00b7 ${rest.join(" \u00b7 ")}`) : null);
  }

  preview(item, index, opener, over) {
    const source = this.viewer.thumb(index);
    if (source) {
      const image = el("img", {
        src: source, alt: "", decoding: "async", draggable: "false", class: item.alpha && "alpha",
      });
      image.addEventListener("error", () => {
        image.remove();
        over.prepend(signOf(item));
      });
      opener.append(image);
    } else if (item.kind === "audio" && item.peaks?.length) opener.append(waveform(item.peaks, 56));
    else if (item.kind === "text" && item.text)
      over.prepend(el("span", { class: "snippet", dir: "auto" }, item.text.slice(0, 600)));
    else over.prepend(signOf(item));
  }

  mark(card, index) {
    const current = index === this.result.order[this.current];
    const chosen = this.viewer.selected.has(index);
    card.classList.toggle("chosen", chosen);
    card.classList.toggle("current", current);
    card.querySelector(".check").checked = chosen;
    for (const each of card.querySelectorAll(".open, .check")) each.tabIndex = current ? 0 : -1;
  }

  refresh() {
    for (const [index, card] of this.cards) this.mark(card, index);
  }

  /** Draw a card anew, after its media changed. */
  renew(index) {
    const card = this.cards.get(index);
    if (!card) return;
    const focused = card.contains(this.viewer.root.activeElement);
    this.cards.delete(index);
    card.remove();
    this.draw();
    if (focused) this.focus(this.current);
  }

  focusedAt(index) {
    this.current = this.result.order.indexOf(index);
    this.refresh();
  }

  open(index, event) {
    const position = this.result.order.indexOf(index);
    if (event.shiftKey || event.ctrlKey || event.metaKey) this.viewer.choose(position, event.shiftKey);
    else this.viewer.lightbox.open(position);
  }

  /** Give the focus to a card, and bring it into view. */
  focus(position) {
    if (!this.plan || !this.result.order.length) return;
    this.current = Math.max(0, Math.min(position, this.result.order.length - 1));
    this.draw();
    const card = this.cards.get(this.result.order[this.current]);
    card.querySelector(".open").focus({ preventScroll: true });
    // Not behind the bar, which stays at the top of a page; headings are part of what is looked at.
    card.style.scrollMarginTop = `${(this.viewer.boxed ? 0 : this.viewer.bar.element.offsetHeight) + HEADING + GAP}px`;
    card.scrollIntoView({ block: "nearest" });
  }

  /** The card nearest below or above, some rows away. */
  beside(step) {
    const { rows } = this.plan;
    const index = this.result.order[this.current];
    const at = rows.findIndex((row) => row.cells.some((cell) => cell.index === index));
    const cell = rows[at].cells.find((each) => each.index === index);
    const row = rows[Math.max(0, Math.min(rows.length - 1, at + step))];
    const middle = (each) => Math.abs(each.x + each.width / 2 - cell.x - cell.width / 2);
    const nearest = row.cells.reduce((best, each) => (middle(each) < middle(best) ? each : best));
    return this.result.order.indexOf(nearest.index);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.result.order.length) return false;
    const page = () => Math.max(1, Math.floor((this.viewer.boxed ? this.element.clientHeight : innerHeight) / 160));
    const moves = {
      ArrowRight: () => this.current + 1, ArrowLeft: () => this.current - 1,
      ArrowDown: () => this.beside(1), ArrowUp: () => this.beside(-1),
      PageDown: () => this.beside(page()), PageUp: () => this.beside(-page()),
      Home: () => 0, End: () => this.result.order.length - 1,
    };
    if (moves[event.key]) this.focus(moves[event.key]());
    else if (event.key === "x" || event.key === "X") this.viewer.choose(this.current, event.shiftKey);
    else if (event.key === "/") this.viewer.bar.search.focus();
    else if (event.key === "Escape" && this.viewer.selected.size) this.viewer.clearSelection();
    else return this.viewer.rateKey(event.key, this.result.order[this.current]);
    return true;
  }
}

/** The outline of a sound as bars; `.played` is laid over `.all` and clipped. */
function waveform(peaks, most) {
  const count = Math.min(most, peaks.length) || 1;
  const bars = Array.from({ length: count }, (_, at) => {
    const [from, to] = [Math.floor((at * peaks.length) / count), Math.ceil(((at + 1) * peaks.length) / count)];
    const high = Math.max(2, (Math.max(0, ...peaks.slice(from, to)) / 255) * 96);
    return `M${at * 10 + 2} ${50 - high / 2}h6v${high}h-6z`;
  }).join("");
  return svg(`0 0 ${count * 10} 100`, [{ d: bars, class: "all" }, { d: bars, class: "played" }],
    { class: "wave", preserveAspectRatio: "none" });
}

// -- the bar above the wall -------------------------------------------------------------------------------------------
class Bar {
  constructor(viewer) {
    this.viewer = viewer;
    const { data, library, query } = viewer;
    const many = library.items.length > 1;
    const change = (name) => (event) => viewer.ask({ [name]: event.currentTarget.value });
    this.count = el("p", { class: "count", role: "status" });
    this.search = el("input", {
      type: "search", placeholder: "Search captions and names", title: "Search (/)",
      "aria-label": "Search captions, names and attributes", oninput: change("search"),
    });
    this.panel = el("div", { class: "panel", id: "filters", role: "group", "aria-label": "Filters", hidden: true });
    this.filters = filtersButton(this.panel, () => this.toggle());
    this.kinds = el("div", { class: "kinds", role: "group", "aria-label": "Kind" });
    this.chips = el("div", { class: "chips" });
    this.group = choice("Group", library.groupings, change("group"), query.group);
    this.sort = choice("Sort", library.sorts, change("sort"), query.sort);
    this.group.hidden = library.groupings.length < 2;
    this.sort.hidden = library.sorts.length < 2;
    const arranging = el("div", { class: "arranging" }, this.group, this.sort, sizeSlider(viewer));
    this.element = el("div", { class: "bar" },
      el("div", { class: "row" }, el("h2", { title: data.title }, el("bdi", {}, data.title)), this.count,
        el("span", { class: "spring" }), many ? this.search : null),
      many ? el("div", { class: "row tools", role: "group", "aria-label": "What is shown" },
        this.kinds, this.filters, this.chips, arranging) : null,
      many ? this.panel : null,
      data.notes?.length ? el("p", { class: "note", role: "note" }, data.notes.join(" \u00b7 ")) : null);
    this.build();
  }

  toggle(open = this.panel.hidden) {
    this.panel.hidden = !open;
    this.filters.setAttribute("aria-expanded", String(open));
    this.viewer.wall.onscroll();
  }

  /** Make the filters anew; `update` brings their counts. */
  build() {
    const { library, query } = this.viewer;
    const fields = library.fields;
    const counted = (text) => [el("bdi", {}, text), el("span", { class: "n" })];
    this.kind = fields.find(({ id }) => id === "kind");
    this.kinds.hidden = !this.kind;
    const present = Object.keys(KINDS).filter((kind) => library.items.some((item) => item.kind === kind));
    this.kinds.replaceChildren(...["", ...present].map((kind) => el("button", {
      type: "button", "data-value": kind, onclick: () => this.viewer.filter(this.kind, kind, null),
    }, ...counted(KINDS[kind] ?? "All"))));
    this.fields = fields.filter(({ id }) => id !== "kind");
    this.filters.hidden = !this.fields.length;
    const choice = (each, value) => el("label", { title: value || `no ${each.label}` },
      el("input", {
        type: "checkbox", value, checked: query.chosen.get(each.id)?.values.has(value),
        onchange: (event) => this.viewer.filter(each, value, event.currentTarget.checked),
      }), ...counted(value || "none"));
    this.panel.replaceChildren(...this.fields.map((each) => el("fieldset", {},
      el("legend", { title: each.label }, el("bdi", {}, each.label)),
      ...this.valuesOf(each).map((value) => choice(each, value)))));
  }

  valuesOf(each) {
    const values = [...new Set(this.viewer.library.items.flatMap(each.of))];
    return values.sort((a, b) => (a === "") - (b === "") || byName.compare(a, b));
  }

  update(result) {
    const { library, query } = this.viewer;
    const all = library.items.length;
    const bytes = result.groups.reduce((sum, group) => sum + group.bytes, 0);
    const shown = result.order.length;
    const size = shown ? `, ${sizeText(bytes)}` : "";
    this.count.textContent = `${shown === all ? "" : `${number(shown)} of `}${plural(all, "media")}${size}`;
    if (this.kind) this.countKinds(library.counts(this.kind, query), query.chosen.get("kind")?.values ?? new Set());
    this.fields.forEach((each, at) => {
      const counts = library.counts(each, query);
      for (const label of this.panel.children[at].querySelectorAll("label")) {
        const [input] = label.children;
        const count = counts.get(input.value) ?? 0;
        input.checked = Boolean(query.chosen.get(each.id)?.values.has(input.value));
        label.querySelector(".n").textContent = number(count);
        label.classList.toggle("none", !count);
      }
    });
    this.showChips();
  }

  countKinds(counts, chosen) {
    const all = [...counts.values()].reduce((sum, count) => sum + count, 0);
    for (const each of this.kinds.children) {
      const { value } = each.dataset;
      each.querySelector(".n").textContent = number(value ? counts.get(value) ?? 0 : all);
      each.setAttribute("aria-pressed", String(value ? chosen.has(value) : !chosen.size));
    }
  }

  showChips() {
    const chosen = [...this.viewer.query.chosen.values()].filter(({ field: { id } }) => id !== "kind");
    const active = chosen.reduce((sum, { values }) => sum + values.size, 0);
    this.filters.classList.toggle("on", active > 0);
    this.filters.querySelector("span").textContent = active ? `Filters (${active})` : "Filters";
    this.chips.replaceChildren(...chosen.flatMap(({ field: each, values }) => [...values].map((value) => {
      const text = `${each.label}: ${value || "none"}`;
      return chip(text, `filter ${text}`, () => {
        this.viewer.filter(each, value, false);
        this.filters.focus(); // the chip is gone
      });
    })));
  }
}

// -- the lightbox -----------------------------------------------------------------------------------------------------
/** Originals, by a host that may be slow: asked for once, the last few kept, addresses given back. */
class Originals {
  constructor(host) {
    this.host = host;
    this.kept = new Map();
  }

  get(index) {
    const found = this.kept.get(index) ?? this.ask(index);
    this.kept.delete(index);
    this.kept.set(index, found);
    for (const old of [...this.kept.keys()].slice(0, -KEPT)) this.forget(old);
    return found;
  }

  ask(index) {
    const why = (error) => ({ kind: "none", why: String(error?.message ?? error) });
    return Promise.resolve().then(() => this.host.original(index)).catch(why);
  }

  /** The file itself, where the host brings it: what is shown may be a picture or a text made of it. */
  file(index) {
    if (!this.host.file) return this.get(index);
    return this.host.file(index).catch((error) => ({ why: String(error?.message ?? error) }));
  }

  forget(index) {
    const found = this.kept.get(index);
    this.kept.delete(index);
    // Not at once: what was shown a moment ago may still be loading.
    found?.then(({ url }) => url?.startsWith("blob:") && setTimeout(() => URL.revokeObjectURL(url), 10_000));
  }

  destroy() {
    for (const index of [...this.kept.keys()]) this.forget(index);
  }
}

/** A picture that zooms and pans: wheel, keys, double click, drag and pinch. */
class Picture {
  constructor(item, thumb, changed) {
    [this.item, this.changed] = [item, changed];
    this.image = el("img", {
      alt: item.caption || item.title, draggable: "false", src: thumb, class: item.alpha && "alpha",
    });
    this.element = el("div", { class: "picture" }, this.image);
    [this.zoom, this.x, this.y] = [1, 0, 0];
    this.pointers = new Map();
    this.image.addEventListener("load", () => this.fit());
    this.element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.element.addEventListener("dblclick", (event) => this.toggle(...this.at(event)));
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel"])
      this.element.addEventListener(name, (event) => this[name](event));
    this.watch = new ResizeObserver(() => this.fit());
    this.watch.observe(this.element);
  }

  destroy() {
    this.watch.disconnect();
  }

  /** Replace the preview by the original once it can be drawn: nothing flickers; false where it can't. */
  async load(url) {
    const original = new Image();
    original.src = url;
    try {
      await original.decode();
    } catch {
      return false;
    }
    this.image.src = url;
    this.whole = true;
    [this.wide, this.high] = [original.naturalWidth || 300, original.naturalHeight || 150]; // an SVG may have no size
    this.fit();
    return true;
  }

  /** The size at zoom 1: all of it, not larger than it is; tiny ones are enlarged. */
  fit() {
    const { clientWidth, clientHeight } = this.element;
    const wide = (this.whole ? this.wide : this.item.w) || this.image.naturalWidth;
    const high = (this.whole ? this.high : this.item.h) || this.image.naturalHeight;
    if (!wide || !high || !clientWidth) return;
    const room = Math.min((clientWidth - MARGIN) / wide, (clientHeight - MARGIN) / high);
    const most = this.item.type === "image/svg+xml" ? room : Math.max(1, 240 / Math.max(wide, high));
    this.scale = Math.min(room, most);
    [this.width, this.height] = [wide * this.scale, high * this.scale];
    [this.image.style.width, this.image.style.height] = [`${this.width}px`, `${this.height}px`];
    this.draw();
  }

  draw() {
    const limit = (size, room) => Math.max(0, (size * this.zoom - room) / 2);
    const keep = (value, most) => Math.max(-most, Math.min(most, value));
    this.x = keep(this.x, limit(this.width, this.element.clientWidth));
    this.y = keep(this.y, limit(this.height, this.element.clientHeight));
    this.image.style.transform = `translate(-50%, -50%) translate(${this.x}px, ${this.y}px) scale(${this.zoom})`;
    this.image.classList.toggle("pixels", this.zoom * this.scale >= 3);
    this.element.classList.toggle("zoomed", this.zoom > 1);
    this.changed(Math.round(this.zoom * this.scale * 100));
  }

  /** Where a pointer is, from the middle. */
  at({ clientX, clientY }) {
    const box = this.element.getBoundingClientRect();
    return [clientX - box.left - box.width / 2, clientY - box.top - box.height / 2];
  }

  /** Zoom so that what is under a point stays under it. */
  to(zoom, x = 0, y = 0) {
    const next = Math.max(1, Math.min(Math.max(8, 8 / this.scale), zoom));
    this.x = x - ((x - this.x) * next) / this.zoom;
    this.y = y - ((y - this.y) * next) / this.zoom;
    this.zoom = next;
    this.draw();
  }

  /** Between all of it and pixel for pixel. */
  toggle(x = 0, y = 0) {
    this.to(this.zoom > 1 ? 1 : Math.max(2, 1 / this.scale), x, y);
  }

  wheel(event) {
    event.preventDefault();
    const step = event.deltaMode ? event.deltaY * 30 : event.deltaY;
    this.to(this.zoom * Math.exp(-step * (event.ctrlKey ? 0.01 : 0.002)), ...this.at(event));
  }

  pointerdown(event) {
    if (event.button) return;
    this.element.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    this.begun = this.at(event);
  }

  pointermove(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.at(event);
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, now);
    if (other) {
      const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
      this.to((this.zoom * apart(now)) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      this.begun = null; // two fingers are no swipe
    } else if (this.zoom > 1) this.pan(now[0] - before[0], now[1] - before[1]);
  }

  pointerup(event) {
    const [x, y] = this.at(event);
    const begun = this.pointers.size === 1 && this.zoom === 1 && event.pointerType === "touch" ? this.begun : null;
    this.pointers.delete(event.pointerId);
    if (begun && Math.abs(x - begun[0]) > 60 && Math.abs(x - begun[0]) > 2 * Math.abs(y - begun[1]))
      this.swiped?.(x < begun[0] ? 1 : -1);
  }

  pointercancel(event) {
    this.pointers.delete(event.pointerId);
  }

  pan(x, y) {
    [this.x, this.y] = [this.x + x, this.y + y];
    this.draw();
  }

  key({ key }) {
    const pans = { ArrowLeft: [80, 0], ArrowRight: [-80, 0], ArrowUp: [0, 80], ArrowDown: [0, -80] };
    if (key === "+" || key === "=") this.to(this.zoom * 1.4);
    else if (key === "-") this.to(this.zoom / 1.4);
    else if (key === "0" && this.zoom > 1) this.to(1);
    else if (pans[key] && this.zoom > 1) this.pan(...pans[key]);
    else return false;
    return true;
  }
}

/** A film: its poster, and the film itself on click. */
class Film {
  constructor(item, thumb, original) {
    this.item = item;
    const length = item.seconds ? el("span", { class: "length" }, lengthText(item.seconds)) : "";
    this.poster = el("button", {
      type: "button", class: "poster", "aria-label": `Play ${item.title}`, onclick: () => this.play(thumb, original),
    }, thumb ? el("img", { src: thumb, alt: "" }) : null, el("span", { class: "disc" }, icon("play")));
    this.element = el("div", { class: "film" }, this.poster, length);
  }

  async play(thumb, original) {
    if (this.asked) return;
    this.asked = true;
    this.poster.classList.add("waits");
    const { kind, url, why } = await original();
    if (kind !== "video") return giveUp(this.element, why);
    const film = el("video", {
      controls: true, playsinline: true, poster: thumb, "aria-label": this.item.title,
      onerror: () => giveUp(this.element, why || CANNOT_PLAY),
    });
    film.src = url;
    const focused = this.poster.matches(":focus");
    this.element.replaceChildren(film);
    if (focused) film.focus();
    // A page may be denied to start sound by itself; the controls remain.
    film.play().catch(() => {});
    this.video = film;
  }

  key({ key, target }) {
    if (key !== " " || target.tagName === "BUTTON") return false;
    if (!this.video) this.poster.click();
    else if (target !== this.video) this.video[this.video.paused ? "play" : "pause"]();
    else return false;
    return true;
  }

  destroy() {
    this.video?.pause();
  }
}

/** A sound: its outline is the slider. */
class Sound {
  constructor(item, original) {
    [this.item, this.original] = [item, original];
    this.audio = el("audio", { preload: "auto" });
    this.played = el("span", { class: "time" }, "0:00");
    this.length = el("span", { class: "time" });
    this.toggle = button("Play", "play", () => this.switch(), { class: "tool disc" });
    this.slider = el("div", {
      class: "seek", role: "slider", tabindex: "0", "aria-label": "Position", "aria-valuemin": "0",
      onpointerdown: (event) => this.drag(event), onpointermove: (event) => event.buttons && this.drag(event),
    });
    this.outline(item.peaks ?? []);
    this.element = el("div", { class: "sound" }, this.slider,
      el("div", { class: "transport" }, this.played, this.toggle, this.length), this.audio);
    for (const name of ["play", "pause", "ended", "timeupdate", "durationchange"])
      this.audio.addEventListener(name, () => this.update());
    this.update();
  }

  get duration() {
    return Number.isFinite(this.audio.duration) ? this.audio.duration : this.item.seconds ?? 0;
  }

  outline(peaks) {
    this.slider.replaceChildren(waveform(peaks.length ? peaks : new Array(120).fill(6), 220));
  }

  /** Fetch the sound, once; true when it can play. */
  load() {
    this.toggle.classList.add("waits");
    this.ready ??= this.original().then(async ({ kind, url, why, peaks }) => {
      this.toggle.classList.remove("waits");
      if (kind !== "audio") return this.fail(why);
      if (!this.item.peaks?.length && peaks?.length) this.outline(peaks);
      const known = new Promise((resolve) => {
        this.audio.addEventListener("loadedmetadata", () => resolve(true), { once: true });
        this.audio.addEventListener("error", () => resolve(false), { once: true });
      });
      this.audio.src = url;
      return (await known) || this.fail(CANNOT_PLAY);
    });
    return this.ready;
  }

  fail(why) {
    giveUp(this.element, why);
    return false;
  }

  async switch() {
    if (!(await this.load())) return;
    if (this.audio.paused) this.audio.play().catch(() => {});
    else this.audio.pause();
  }

  /** Go to a place; how long it is may be known only when the sound is there. */
  async seek(place) {
    if (!(await this.load())) return;
    this.audio.currentTime = Math.max(0, Math.min(this.duration, place(this.duration)));
    this.update();
  }

  drag(event) {
    const box = this.slider.getBoundingClientRect();
    if (event.type === "pointerdown") this.slider.setPointerCapture(event.pointerId);
    this.seek((duration) => ((event.clientX - box.left) / box.width) * duration);
  }

  update() {
    const { currentTime, paused } = this.audio;
    const { duration } = this;
    const text = (seconds) => lengthText(seconds, duration < 10);
    this.played.textContent = text(currentTime);
    this.length.textContent = text(duration);
    this.slider.style.setProperty("--played", duration ? currentTime / duration : 0);
    this.slider.setAttribute("aria-valuemax", duration.toFixed(1));
    this.slider.setAttribute("aria-valuenow", currentTime.toFixed(1));
    this.slider.setAttribute("aria-valuetext", `${text(currentTime)} of ${text(duration)}`);
    const label = paused ? "Play" : "Pause";
    if (this.toggle.title !== label) {
      this.toggle.setAttribute("aria-label", (this.toggle.title = label));
      this.toggle.replaceChildren(icon(paused ? "play" : "pause"));
    }
    // Smoother than the events of the element, which come four times a second.
    if (!paused) requestAnimationFrame(() => this.update());
  }

  key({ key, target }) {
    if (key === " " && target.tagName !== "BUTTON") this.switch();
    else if (target === this.slider) return this.slide(key);
    else return false;
    return true;
  }

  slide(key) {
    const step = Math.min(5, this.duration / 20);
    const steps = {
      ArrowRight: step, ArrowUp: step, ArrowLeft: -step, ArrowDown: -step,
      PageUp: this.duration / 10, PageDown: -this.duration / 10, Home: -Infinity, End: Infinity,
    };
    if (!(key in steps)) return false;
    this.seek(() => this.audio.currentTime + steps[key]);
    return true;
  }

  destroy() {
    this.audio.pause();
  }
}

/** A text, or Markdown with a way to its source. */
class Text {
  constructor({ kind, text, html }) {
    this.source = el("pre", { class: "paper", tabindex: "0", dir: "auto", "aria-label": "Text" }, text ?? "");
    this.element = el("div", { class: "text" }, this.source);
    if (kind !== "html") return;
    this.rendered = el("div", {
      class: "paper prose", tabindex: "0", role: "document", dir: "auto", "aria-label": "Text",
    });
    this.rendered.append(cleaned(html ?? ""));
    this.flip = el("button", { type: "button", class: "flip", onclick: () => this.show(!this.source.hidden) });
    if (text) this.element.prepend(this.flip);
    this.element.append(this.rendered);
    this.show(true);
  }

  show(rendered) {
    [this.source.hidden, this.rendered.hidden] = [rendered, !rendered];
    this.flip.textContent = rendered ? "Show the source" : "Show it rendered";
  }
}

const PROSE = new Set((
  "p h1 h2 h3 h4 h5 h6 ul ol li blockquote pre code em strong s del hr br table thead tbody tr th td span a sup sub"
).split(" "));

/** Take over rendered Markdown element by element: whatever made it, nothing in it can run, load or lead away. */
function cleaned(html) {
  const take = (from, into) => {
    for (const node of from.childNodes) {
      const name = node.nodeName.toLowerCase();
      if (node.nodeType === Node.TEXT_NODE) into.append(node.data);
      else if (PROSE.has(name)) {
        const made = el(name === "a" ? "span" : name, { title: node.getAttribute("title") });
        take(node, made);
        into.append(made);
      }
    }
    return into;
  };
  return take(new DOMParser().parseFromString(html, "text/html").body, document.createDocumentFragment());
}

const reason = (why) =>
  el("p", { class: "reason", role: "status", tabindex: "-1" }, why || "there is nothing to show of it");

/** Say in the place of a player why there is none; it takes over the focus of the button that was pressed. */
function giveUp(element, why) {
  const focused = element.contains(element.getRootNode().activeElement);
  const told = reason(why);
  element.replaceChildren(...element.querySelectorAll("img"), told);
  if (focused) told.focus();
}

class Lightbox {
  constructor(viewer) {
    this.viewer = viewer;
    this.originals = new Originals(viewer.host);
    this.turn = 0;
    this.counter = el("p", { class: "counter" });
    this.title = el("h2", { id: "shown" });
    this.percent = el("output", { class: "percent", "aria-label": "Zoom" });
    const zoomed = (factor) => () => this.view?.to?.(this.view.zoom * factor);
    this.zooms = el("div", { class: "zooms", role: "group", "aria-label": "Zoom" },
      button("Zoom out (-)", "minus", zoomed(1 / 1.4)), this.percent, button("Zoom in (+)", "plus", zoomed(1.4)));
    this.check = el("input", { type: "checkbox", class: "check", "aria-label": "Select (x)", title: "Select (x)",
      onclick: () => this.choose() });
    this.save = button("Download (d)", "download", () => this.download());
    this.info = button("Facts (i)", "info", () => this.toggleFacts(), { "aria-expanded": "true" });
    this.shut = button("Close (Esc)", "close", () => this.close());
    this.back = button("Previous", "left", () => this.step(-1), { class: "tool turn back" });
    this.next = button("Next", "right", () => this.step(1), { class: "tool turn next" });
    this.content = el("div", { class: "content" });
    this.said = el("p", { class: "toast", role: "status" });
    this.remark = el("p", { class: "remark", role: "status" }); // what is to be known of what is shown
    this.facts = el("aside", { class: "facts", tabindex: "0", "aria-label": "Facts" });
    this.stage = el("div", { class: "stage" }, this.content, this.remark, this.back, this.next, this.said);
    this.element = modal("lightbox", "shown", (event) => this.keydown(event), () => this.close(),
      el("header", {}, el("div", { class: "what", "aria-live": "polite" }, this.counter, this.title),
        this.zooms, this.check, this.save, this.info, this.shut), this.stage, this.facts);
  }

  get order() {
    return this.viewer.wall.result.order;
  }

  get index() {
    return this.order[this.position];
  }

  open(position) {
    if (this.element.open) return;
    this.element.showModal();
    this.stand();
    this.shut.focus({ preventScroll: true });
    this.show(position);
  }

  /**
   * In a frame as tall as its page (Colab) the middle of the window is nowhere near the reader, and where the page has
   * been scrolled to is not told to frames; an observer tells what of it is seen.
   */
  stand() {
    const { style, classList } = this.element;
    new IntersectionObserver(([{ intersectionRect: seen }], watch) => {
      watch.disconnect();
      const placed = window !== window.parent && seen.height > 0 && seen.height < innerHeight - 1;
      classList.toggle("placed", placed);
      [style.top, style.height] = placed ? [`${scrollY + seen.top}px`, `${seen.height}px`] : ["", ""];
    }).observe(document.documentElement);
  }

  close() {
    if (!this.element.open) return;
    this.leave();
    this.turn += 1;
    this.element.close();
    // Where the reader was looking: the card of what was shown last.
    this.viewer.wall.focus(this.position);
  }

  destroy() {
    this.leave();
    this.originals.destroy();
  }

  leave() {
    if (this.content.contains(this.viewer.root.activeElement)) this.element.focus({ preventScroll: true });
    this.view?.destroy?.();
    this.view = null;
    this.content.replaceChildren();
  }

  step(by) {
    const next = this.position + by;
    if (next < 0 || next >= this.order.length) return;
    this.show(next);
  }

  async show(position) {
    this.leave();
    this.position = position;
    const { index } = this;
    const item = this.viewer.library.items[index];
    const turn = (this.turn += 1);
    this.title.replaceChildren(el("bdi", {}, item.title));
    this.counter.textContent = `${number(position + 1)} / ${number(this.order.length)}`;
    this.turnable(position);
    this.mark();
    this.refill(item);
    this.say("");
    this.remark.textContent = "";
    const original = async () => {
      const got = await this.originals.get(index);
      // What to know of what is shown: the page of several, sound that is left out, that it is cut off.
      if (turn === this.turn && got.kind !== "none") this.remark.textContent = got.why ?? "";
      return got;
    };
    const thumb = this.viewer.thumb(index);
    const plays = item.kind === "video" || item.kind === "audio"; // these wait for a click
    this.element.classList.toggle("loading", !plays);
    if (item.kind === "video") return this.use(new Film(item, thumb, original));
    if (item.kind === "audio") return this.use(new Sound(item, original));
    if (thumb) this.use(this.picture(item, thumb));
    else this.wait();
    const got = await original();
    if (turn !== this.turn) return undefined;
    await this.put(item, got, index);
    if (turn === this.turn) this.element.classList.remove("loading");
    return this.ahead();
  }

  /** Bring the next one before it is asked for, where that costs little. */
  ahead() {
    const next = this.order[this.position + 1];
    const item = this.viewer.library.items[next];
    if (item && (item.kind === "image" || item.kind === "text") && item.size <= AHEAD) this.originals.get(next);
  }

  /** The ends of the result: a button that does nothing must not keep the focus. */
  turnable(position) {
    const { activeElement } = this.viewer.root;
    this.back.disabled = position === 0;
    this.next.disabled = position === this.order.length - 1;
    if (activeElement === this.back && this.back.disabled) (this.next.disabled ? this.shut : this.next).focus();
    if (activeElement === this.next && this.next.disabled) (this.back.disabled ? this.shut : this.back).focus();
  }

  use(view) {
    this.leave();
    this.view = view;
    this.content.append(view.element);
    this.zooms.hidden = !view.to;
    view.fit?.();
  }

  wait() {
    this.zooms.hidden = true;
    this.content.append(el("p", { class: "reason waiting" }, "Loading\u2026"));
  }

  picture(item, source) {
    const made = new Picture(item, source, (percent) => { this.percent.textContent = `${percent} %`; });
    made.swiped = (by) => this.step(by);
    return made;
  }

  async put(item, got, index) {
    if (got.kind === "text" || got.kind === "html") return this.use(new Text(got));
    const original = async () => got;
    if (got.kind === "audio") return this.use(new Sound(item, original));
    if (got.kind === "video") return this.use(new Film(item, this.viewer.thumb(index), original));
    if (got.kind !== "image") return this.none(item, got.why || item.why);
    const shown = this.view ?? this.picture(item, null);
    if (shown !== this.view) this.use(shown);
    if ((await shown.load(got.url)) || shown !== this.view) return undefined;
    return this.none(item, "this browser can't show it: save it");
  }

  /** No original: the preview, where there is one, and why. */
  none(item, why) {
    if (this.view) {
      this.remark.textContent = why;
      return;
    }
    this.leave();
    this.zooms.hidden = true;
    const name = KINDS[item.kind] ? item.kind : "file";
    this.content.append(el("div", { class: "nothing" }, icon(name),
      item.text ? el("pre", { class: "paper", tabindex: "0", dir: "auto" }, item.text) : null, reason(why)));
  }

  say(text) {
    clearTimeout(this.saying);
    this.said.textContent = text;
    if (text) this.saying = setTimeout(() => { this.said.textContent = ""; }, 4000);
  }

  mark() {
    this.check.checked = this.viewer.selected.has(this.index);
  }

  choose() {
    this.viewer.choose(this.position);
    this.mark();
  }

  toggleFacts() {
    if (this.facts.contains(this.viewer.root.activeElement)) this.info.focus(); // it is hidden with them
    const hidden = this.element.classList.toggle("bare");
    this.info.setAttribute("aria-expanded", String(!hidden));
    this.view?.fit?.();
  }

  async download() {
    const item = this.viewer.library.items[this.index];
    const { url, text, type, name, why } = await this.originals.file(this.index);
    const made = url ?? (text === undefined || text === null ? null
      : URL.createObjectURL(new Blob([text], { type: type || "text/plain" })));
    if (!made) return this.say(why || "there is nothing to save");
    const link = el("a", { href: made, download: name || item.name || "media", class: "away" });
    this.element.append(link);
    link.click();
    link.remove();
    if (made !== url || this.originals.host.file) setTimeout(() => URL.revokeObjectURL(made), 60_000);
    return undefined;
  }

  /** Fill the facts anew; a button in them that has the focus hands it to the one of its name. */
  refill(item, top = 0) {
    const called = (each) => each.getAttribute("aria-label") ?? each.textContent;
    const focused = this.viewer.root.activeElement;
    const name = this.facts.contains(focused) && focused !== this.facts ? called(focused) : null;
    this.describe(item);
    this.facts.scrollTop = top;
    if (name === null) return;
    const same = [...this.facts.querySelectorAll("button, summary")].find((each) => called(each) === name);
    (same ?? this.element).focus({ preventScroll: true });
  }

  describe(item) {
    const { data } = this.viewer;
    const caption = item.caption ? el("p", { class: "caption", dir: "auto" }, item.caption) : null;
    const wrong = (item.wrong ?? []).map((text) => el("p", { class: "wrong" }, text));
    this.facts.replaceChildren(...[caption, ...wrong, this.stars(item), table("Facts", factsOf(item, data.now)),
      table("Attributes", Object.entries(item.attributes ?? {}).map(([name, value]) => [name, valueText(value)])),
      ...this.copies("Reference", item.ref, item.shown), ...this.copies("Code", item.code), this.keys()].filter(Boolean));
    this.facts.scrollTop = 0;
  }

  /** What the keys do: nobody finds them out by looking. */
  keys() {
    const keys = [
      ["\u2190 \u2192", "previous, next; of a zoomed picture its sides"], ["Page \u2191 \u2193", "previous, next"],
      ["+ \u2212 0", "larger, smaller, all of it"], ["Space", "play, pause"],
      ["x", "select; in the wall with Shift a range"],
      ["1 \u2026 5, 0", this.viewer.data.rates ? "rate, rate no more" : ""], ["d", "download"], ["i", "facts"],
      ["/", "search, in the wall"], ["Esc", "close"],
    ];
    const open = this.facts.querySelector(".keys")?.open;
    return el("details", { class: "keys", open }, el("summary", {}, "Keys"), table("", keys));
  }

  copies(label, text, shown = text) {
    if (!text) return [];
    return [el("div", { class: "copied" }, el("h3", {}, label), copier("Copy", () => text), el("code", {}, shown))];
  }

  stars(item) {
    if (!this.viewer.data.rates) return null;
    const now = Number(item.attributes?.[RATING]) || 0;
    return el("div", { class: "rating", role: "group", "aria-label": "Rating" }, ...[1, 2, 3, 4, 5].map((stars) =>
      el("button", {
        type: "button", "aria-label": `Rate ${stars} of 5 (${stars})`, "aria-pressed": String(stars === now),
        class: stars <= now ? "lit" : "", onclick: () => this.viewer.rate(this.index, stars === now ? null : stars),
      }, "\u2605")));
  }

  keydown(event) {
    // What is behind a modal dialog must not act on any key, whether it means something here or not.
    event.stopPropagation();
    if (event.key === "Tab") return this.trap(event);
    if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
    if (this.key(event)) event.preventDefault();
    return undefined;
  }

  /** Tab goes round inside; a frame would else hand it to its page. */
  trap(event) {
    const all = [...this.element.querySelectorAll("button, input, summary, video, [tabindex='0']")]
      .filter((each) => !each.disabled && each.getClientRects().length);
    const at = all.indexOf(this.viewer.root.activeElement);
    if (event.shiftKey ? at > 0 : at >= 0 && at < all.length - 1) return;
    event.preventDefault();
    all.at(event.shiftKey ? -1 : 0)?.focus();
  }

  key(event) {
    const { key, target } = event;
    if (key === "Escape") {
      this.close();
      return true;
    }
    if (this.view?.key?.(event)) return true;
    // A film seeks with arrows by itself; what scrolls keeps the keys that scroll.
    if (target.tagName === "VIDEO") return false;
    const scrolls = target.matches(".paper, .facts");
    const moves = { ArrowRight: 1, ArrowLeft: -1, ...(scrolls ? {} : { PageDown: 1, PageUp: -1 }) };
    if (moves[key]) this.step(moves[key]);
    else if (key === "Home" && !scrolls) this.show(0);
    else if (key === "End" && !scrolls) this.show(this.order.length - 1);
    else if (key === "x") this.choose();
    else if (key === "i") this.toggleFacts();
    else if (key === "d") this.download();
    else return this.viewer.rateKey(key, this.index);
    return true;
  }
}

/** What any media has of itself, as rows of a table. */
const basicsOf = (item) => [
  ["Type", item.type], ["Size", sizeText(item.size ?? 0)],
  ["Pixels", item.w && item.h ? `${number(item.w)} \u00d7 ${number(item.h)}` : ""],
];

function factsOf(item, now) {
  const position = `${item.message ?? ""}${item.part ? `, part ${item.part}` : ""}`;
  const expires = item.expires ? `${timeText(item.expires)} (${untilText(item.expires - now)})` : "";
  return [
    ...basicsOf(item),
    ["Length", item.seconds ? lengthText(item.seconds) : ""], ["Pages", item.pages ? number(item.pages) : ""],
    ["Run", item.run], ["Session", item.session], ["Conversation", item.conversation],
    ["Message", position], ["Time", item.time ? timeText(item.time) : ""], ["Provider", item.provider],
    ["Policy", item.policy],
    ["Expires", expires], ["Held", item.held ? "yes" : ""],
  ];
}

function table(label, rows) {
  const filled = rows.filter(([, value]) => value !== undefined && value !== null && value !== "");
  if (!filled.length) return null;
  const row = ([name, value]) => el("div", { class: name.length > 15 && "long" },
    el("dt", {}, el("bdi", {}, name)), el("dd", { dir: "auto" }, value));
  return el("section", {}, label && el("h3", {}, label), el("dl", {}, ...filled.map(row)));
}

// -- all of it --------------------------------------------------------------------------------------------------------
class Viewer {
  /** `parts` are what another page has in the place of these classes. */
  constructor(place, data, host, css, parts = { Library, Wall, Bar, Lightbox }) {
    [this.data, this.host] = [data, host];
    this.library = new parts.Library(data);
    this.query = { search: "", chosen: new Map(), sort: "", group: this.firstGroup(data.group) };
    this.selected = new Set();
    this.size = data.size ?? usualSize(data.items.length);
    this.boxed = host.boxed !== false;
    this.telling = this.tellingFacts();
    this.captioned = this.library.differs((item) => item.caption);
    this.root = place.shadowRoot ?? place.attachShadow({ mode: "open" });
    // Keys reach JupyterLab's listener with the host element as their target: it must say so too.
    place.setAttribute("data-lm-suppress-shortcuts", "true");
    this.wall = new parts.Wall(this);
    this.bar = new parts.Bar(this);
    this.lightbox = new parts.Lightbox(this);
    this.empty = el("div", { class: "empty", hidden: true });
    this.choices = this.choiceBar();
    this.element = el("div", {
      // A click on what takes no focus gives it to this, or else to the cell of a notebook, whose letters are commands.
      role: "group", tabindex: "-1", class: `viewer ${this.boxed ? "boxed" : "paged"}`, "aria-label": `Gallery: ${data.title}`,
      onkeydown: (event) => this.keydown(event),
    },
      this.bar.element, this.empty, this.wall.element, this.lightbox.element);
    // At the foot of a window; the foot of a box may be below what a notebook shows, and its panes let nothing stick.
    if (this.boxed) this.bar.element.querySelector(".spring").after(this.choices);
    else this.wall.element.after(this.choices);
    // The screen and not the window: a frame that grows with its content has a window that grows with it.
    this.element.style.setProperty("--tall", `${Math.min(640, Math.round(screen.availHeight * 0.72))}px`);
    const style = el("style", {}, css);
    this.root.replaceChildren(style, this.element);
    this.unwatch = [watchTheme(this.element), this.watchPrint()];
    this.update();
  }

  destroy() {
    for (const stop of this.unwatch) stop();
    this.lightbox.destroy();
    this.wall.destroy();
    this.root.replaceChildren();
  }

  firstGroup(wanted) {
    return this.library.groupings.some(([id]) => id === wanted) ? wanted : "";
  }

  /** What stands behind the name on a card: [field, item => text], where media differ in it. */
  tellingFacts() {
    const { library } = this;
    const day = (item) => item.time && Math.floor(item.time / DAY);
    const when = library.differs(day) ? dayText : (time) => instant(time).toISOString().slice(11, 16);
    const model = (item) => valueText(item.attributes?.[library.model] ?? "");
    return [
      [`attribute ${library.model}`, model], ["run", (item) => item.run ?? ""],
      ["time", (item) => (item.time ? when(item.time) : "")],
    ].filter(([, text]) => library.differs(text));
  }

  thumb(index) {
    const { thumb } = this.library.items[index];
    const source = thumb === "sheet" ? this.host.picture?.(index) : thumb;
    return typeof source === "string" && /^(data:image\/|blob:)/.test(source) ? source : null;
  }

  /** Change the query, and show its result. */
  ask(changed) {
    Object.assign(this.query, changed);
    this.update();
  }

  filter(field, value, on) {
    const { chosen } = this.query;
    const values = on === null ? new Set(value ? [value] : []) : new Set(chosen.get(field.id)?.values);
    if (on === true) values.add(value);
    if (on === false) values.delete(value);
    if (values.size) chosen.set(field.id, { field, values });
    else chosen.delete(field.id);
    this.update();
  }

  update() {
    const result = this.library.result(this.query);
    const top = this.wall.element.getBoundingClientRect().top;
    if (this.boxed) this.wall.element.scrollTop = 0;
    else if (top < 0) this.element.scrollIntoView(); // the beginning of another result
    this.empty.hidden = result.order.length > 0;
    this.wall.element.hidden = !this.empty.hidden; // before it is filled: what is hidden has no width
    this.wall.show(result);
    this.bar.update(result);
    if (!result.order.length) this.sayEmpty();
  }

  sayEmpty() {
    const { media } = this.data.counts ?? {};
    if (this.library.items.length) {
      this.empty.replaceChildren(el("p", {}, "Nothing fits."), this.resetter());
      return;
    }
    const said = media ? `None of ${plural(media, "media")} is shown.` : "No media here.";
    this.empty.replaceChildren(el("p", {}, said));
  }

  resetter() {
    return el("button", { type: "button", onclick: () => this.reset() }, "Clear search and filters");
  }

  reset() {
    this.bar.search.value = "";
    this.ask({ search: "", chosen: new Map() });
    this.wall.focus(0);
  }

  resize(size) {
    this.size = size;
    this.wall.rearrange();
  }

  // -- selecting ------------------------------------------------------------------------------------------------------
  /** `own` is what else there is to do with a selection. */
  choiceBar(own = el("button", { type: "button", onclick: () => this.selectAll() }, "Select all shown")) {
    this.chosen = el("p", { role: "status" });
    return el("div", { class: "choices", role: "group", "aria-label": "Selection", hidden: true }, this.chosen,
      copier("Copy references", () => this.references().join("\n")), own,
      el("button", { type: "button", onclick: () => {
        this.clearSelection();
        this.wall.focus(this.wall.current);
      } }, "Clear"));
  }

  selection() {
    return [...this.selected].sort((a, b) => a - b);
  }

  references() {
    return this.selection().map((index) => this.library.items[index].ref);
  }

  /** Select or leave a media; with `range` all from the one chosen before to it. */
  choose(position, range = false, on = !this.selected.has(this.wall.result.order[position])) {
    const { order } = this.wall.result;
    const from = range ? this.wall.anchor : position;
    const chosen = order.slice(Math.min(from, position), Math.max(from, position) + 1);
    for (const index of chosen) this.selected[on || range ? "add" : "delete"](index);
    this.wall.anchor = position;
    this.selectionChanged();
  }

  selectAll() {
    for (const index of this.wall.result.order) this.selected.add(index);
    this.selectionChanged();
  }

  clearSelection() {
    this.selected.clear();
    this.selectionChanged();
  }

  selectionChanged() {
    this.choices.hidden = !this.selected.size;
    this.chosen.textContent = `${number(this.selected.size)} selected`;
    this.element.classList.toggle("choosing", this.selected.size > 0);
    this.wall.refresh();
    if (this.data.selects) this.host.select?.(this.selection());
  }

  // -- rating ---------------------------------------------------------------------------------------------------------
  rateKey(key, index) {
    if (!this.data.rates || !/^[0-5]$/.test(key)) return false;
    this.rate(index, Number(key) || null);
    return true;
  }

  /** Rate at once, and take it back where it could not be written. */
  async rate(index, stars) {
    const item = this.library.items[index];
    const before = item.attributes?.[RATING];
    this.setRating(item, index, stars);
    try {
      await this.host.rate?.(index, stars);
      this.lightbox.say(stars ? `Rated ${stars}` : "Rating removed");
    } catch (error) {
      this.setRating(item, index, before);
      this.say(`Not rated: ${error?.message ?? error}`);
    }
  }

  setRating(item, index, stars) {
    item.attributes = { ...item.attributes };
    if (stars === null || stars === undefined) delete item.attributes[RATING];
    else item.attributes[RATING] = stars;
    this.library.attributes.add(RATING);
    this.library.survey();
    this.bar.build();
    this.bar.update(this.wall.result);
    this.wall.renew(index);
    const { lightbox } = this;
    if (lightbox.element.open && lightbox.index === index) lightbox.refill(item, lightbox.facts.scrollTop);
  }

  say(text) {
    if (this.lightbox.element.open) this.lightbox.say(text);
    else this.bar.count.textContent = text;
  }

  // -- hosts ----------------------------------------------------------------------------------------------------------
  handled(event, done) {
    if (!done) return;
    event.preventDefault();
    event.stopPropagation();
  }

  keydown(event) {
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (event.key === "Escape" && !this.bar.panel.hidden && this.bar.element.contains(event.target)) {
      this.bar.toggle(false);
      this.bar.filters.focus();
      this.handled(event, true);
    }
    // Letters that are typed into a field or that choose in a list are no commands of the host.
    if (plain && event.key !== "Tab") event.stopPropagation();
  }

  /** Paper has no scrolling: all that fits is drawn while the page is printed. */
  watchPrint() {
    const media = matchMedia("print");
    const print = (printing) => {
      this.printing = printing;
      this.wall.draw();
    };
    const [before, after] = [() => print(true), () => print(false)];
    const change = () => print(media.matches);
    addEventListener("beforeprint", before);
    addEventListener("afterprint", after);
    media.addEventListener("change", change);
    return () => {
      removeEventListener("beforeprint", before);
      removeEventListener("afterprint", after);
      media.removeEventListener("change", change);
    };
  }
}

/** Keep `data-theme` right: hosts give colours as variables, and whether these are dark only the colour itself says. */
function watchTheme(element) {
  const context = el("canvas", { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const update = () => {
    context.fillStyle = getComputedStyle(element).backgroundColor;
    context.fillRect(0, 0, 1, 1);
    const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
    element.dataset.theme = 0.299 * red + 0.587 * green + 0.114 * blue < 128 ? "dark" : "light";
  };
  const watch = new MutationObserver(update);
  for (const each of [document.documentElement, document.body]) watch.observe(each, { attributes: true });
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", update);
  update();
  return () => {
    watch.disconnect();
    media.removeEventListener("change", update);
  };
}

/** Draw a gallery in the shadow root of an element; `host` brings originals, and takes ratings and selections. */
export function mount(place, data, host, css) {
  const viewer = new Viewer(place, data, host, css);
  return { destroy: () => viewer.destroy() };
}

// -- a saved page, or the output of a notebook that was opened again --------------------------------------------------
function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  return bytes;
}

/** What a script element of a saved page holds: base64, or the JSON of a text and its rendered form. */
function originalOf(script) {
  const { kind, type, name, why, seconds, peaks } = script.dataset;
  const made = { kind, type, name, why, seconds: Number(seconds) || undefined, peaks: peaks && JSON.parse(peaks) };
  const content = script.textContent;
  if (kind !== "text" && kind !== "html")
    return content.trim() ? { ...made, url: URL.createObjectURL(new Blob([bytesOf(content)], { type })) } : made;
  try {
    return { ...made, ...JSON.parse(content) };
  } catch {
    return { ...made, text: content };
  }
}

/** The host of a page: originals and pictures are in the document. */
function pageHost(section, data) {
  const scripts = new Map();
  for (const script of section.querySelectorAll("script.fsm-original")) scripts.set(Number(script.dataset.i), script);
  const pictures = new Map();
  for (const image of section.querySelectorAll("img[data-i]")) pictures.set(Number(image.dataset.i), image.src);
  return {
    boxed: section.dataset.fsm !== "page",
    picture: (index) => pictures.get(index),
    original: async (index) =>
      scripts.has(index) ? originalOf(scripts.get(index)) : { kind: "none", why: data.beyond ?? BEYOND },
  };
}

/** An item with what a page leaves out to be small: what all have in common, and what follows from the reference. */
const whole = (item, common) => ({
  ...common, name: item.ref.slice(item.ref.lastIndexOf("/") + 1),
  code: `store.retrieve_media(${JSON.stringify(item.ref)}).player()`, ...item,
});

/** Galleries in the outputs of notebooks and their widgets, by key: what comes first waits for the other. */
const meeting = (globalThis[Symbol.for("fsmedia")] ??= { models: new Map(), places: new Map() });

/** Replace each contact sheet of a page by a viewer of the same media; where a kernel knows it, by that of its widget. */
export function start(root) {
  for (const section of root.querySelectorAll("[data-fsm]:not([data-fsm-on])")) {
    section.setAttribute("data-fsm-on", "");
    const data = JSON.parse(section.querySelector("script.fsm-data").textContent);
    data.items = data.items.map((item) => whole(item, data.common));
    const css = section.querySelector("script.fsm-css").textContent;
    const place = el("div", { class: "fsm-viewer" });
    const host = pageHost(section, data);
    for (const sheet of [...section.children]) if (sheet.tagName !== "SCRIPT") sheet.remove();
    const around = el("div", {}, place);
    section.prepend(around);
    const { fsmKey: key } = section.dataset;
    const model = meeting.models.get(key);
    if (model) render({ model, el: around });
    else {
      const mounted = mount(place, data, host, css);
      if (key) meeting.places.set(key, [...(meeting.places.get(key) ?? []), [around, mounted]]);
    }
  }
}

// -- a widget (anywidget) ---------------------------------------------------------------------------------------------
function randomId() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16)).join("");
}

/** The host of a widget: the kernel is asked, and only the view that asked takes the answer. */
function widgetHost(model) {
  const waiting = new Map();
  const ask = (message) => new Promise((resolve) => {
    const id = randomId();
    waiting.set(id, resolve);
    model.send({ id, ...message });
  });
  const answered = (message, buffers) => {
    const resolve = waiting.get(message?.id);
    waiting.delete(message?.id);
    resolve?.({ ...message, bytes: buffers?.[0] });
  };
  model.on("msg:custom", answered);
  const brought = async (what, i) => {
    const { bytes, ...answer } = await ask({ ask: what, i });
    return bytes ? { ...answer, url: URL.createObjectURL(new Blob([bytes], { type: answer.type })) } : answer;
  };
  return {
    original: (i) => brought("original", i),
    file: (i) => brought("file", i),
    rate: async (i, stars) => {
      const { why } = await ask({ rate: stars, i });
      if (why) throw new Error(why);
    },
    select: (indices) => model.send({ id: randomId(), select: indices }),
    destroy: () => model.off("msg:custom", answered),
  };
}

function render({ model, el: element }) {
  const host = widgetHost(model);
  let mounted;
  const draw = () => {
    mounted?.destroy();
    const place = el("div", { class: "fsm-viewer" });
    element.replaceChildren(place);
    mounted = mount(place, structuredClone(model.get("data")), host, model.get("css"));
  };
  model.on("change:data change:css", draw);
  draw();
  return () => {
    model.off("change:data change:css", draw);
    host.destroy();
    mounted.destroy();
  };
}

/** Take over the outputs of a widget that is never displayed itself: they outlive the kernel, its view would not. */
function initialize({ model }) {
  const key = model.get("key");
  meeting.models.set(key, model);
  for (const [around, mounted] of meeting.places.get(key) ?? []) {
    mounted.destroy();
    render({ model, el: around });
  }
  meeting.places.delete(key);
  return () => meeting.models.delete(key);
}

export default { initialize, render };

export {
  GAP, HEADING, LINE, Lightbox, Picture, Text, Viewer, Wall, basicsOf, button, chip, choice, el, filtersButton, icon, modal,
  number, plural, reason, signOf, sizeSlider, sizeText, table, valueText, watchTheme,
};
