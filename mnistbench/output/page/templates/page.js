"use strict";
(() => {
  const all = (selector, at = document) => [...at.querySelectorAll(selector)];
  const button = (text, properties) =>
    Object.assign(document.createElement("button"), { type: "button", textContent: text, ...properties });
  const flip = (set, name) => set.delete(name) || set.add(name);
  const [tools, tip] = all(".tools, .tip");
  const [box, count, reset] = all("input, output, button", tools);

  // What the reader chose: rows that are hidden, "table:up:column", pictures with the other axis.
  const state = { section: "", filter: "", hide: new Set(), sort: new Set(), axis: new Set() };
  const act = (change) => () => {
    change();
    draw();
    write();
  };

  // Rows by name: the parts of the page that belong to each, and the text that the filter reads.
  const rows = new Map();
  const add = (key, part, text) => {
    if (!rows.has(key)) rows.set(key, { name: key, parts: [], text: "" });
    const row = rows.get(key);
    row.parts.push(part);
    row.text += `${text}\n`;
    row.drawn ||= part.closest("svg");
  };
  const tables = all("table").map((table) => {
    const lines = [...table.tBodies[0].rows];
    for (const line of lines) {
      line.texts = [...line.cells].map((cell) => cell.textContent.trim());
      if (table.matches(".runs")) line.dataset.row = line.texts[0];
      else if (table.matches(".others")) add(line, line, `${table.ariaLabel}\n${line.texts.join("\n")}`);
    }
    return { table, lines, key: table.dataset.table, heads: all("thead th", table) };
  });
  for (const part of all("[data-row]")) add(part.dataset.row, part, [part.dataset.row, ...part.texts ?? []].join("\n"));

  // The filter finds rows with all of its words in their cells; 5 is neither in 1.5 nor in 50.
  const filter = () => {
    const words = state.filter.trim().split(/\s+/).map((word) => {
      const exact = word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
      return new RegExp(/^\d/.test(word) ? `(?<![\\d.,])${exact}(?!\\d)` : exact, "iu");
    });
    return (text) => words.every((word) => word.test(text));
  };
  const draw = () => {
    const fits = filter();
    const named = [...rows.values()].filter((row) => typeof row.name === "string");
    for (const row of rows.values()) {
      row.out = !fits(row.text);
      row.off = state.hide.has(row.name);
      for (const part of row.parts) {
        part.classList.toggle("out", row.out);
        part.classList.toggle("off", row.off);
        if (part.toggle) part.toggle.ariaPressed = String(!row.off);
      }
    }
    tables.forEach(arrange);
    figures.forEach(scale);
    const shown = named.filter((row) => !row.out && !row.off).length;
    count.textContent = (shown < named.length ? `${shown} of ` : "") + `${named.length} rows`;
    reset.hidden = shown === named.length && !state.filter;
    if (box.value !== state.filter) box.value = state.filter;
  };

  // Sorting: numbers by value and unit, other text by its words and numbers; what is unknown last.
  const units = { ns: 1e-9, "µs": 1e-6, ms: 1e-3, min: 60, h: 3600, k: 1e3, kB: 1e3, M: 1e6, MB: 1e6 };
  Object.assign(units, { G: 1e9, GB: 1e9, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 });
  const number = /^[\s≤≥<>×~≈([]*([-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)\s*([a-zA-Zµ]*)/;
  const valueOf = (text) => {
    if (text === "–" || !text) return NaN;
    if (/^(not reached|∞)/.test(text)) return Infinity;
    const [, digits, unit] = number.exec(text) ?? [];
    return digits ? digits.replace(/,/g, "").replace("−", "-") * (units[unit] ?? 1) : text;
  };
  const byWords = (a, b) => {
    const [one, other] = [a, b].map((text) => text.split(/(\d+(?:\.\d+)?)/));
    const at = one.findIndex((part, index) => part !== other[index]);
    if (at < 0) return one.length - other.length;
    return at % 2 ? one[at] - (other[at] ?? 0) : one[at].localeCompare(other[at] ?? "");
  };
  const kind = (value) => (typeof value === "string" ? 1 : Number.isNaN(value) ? 2 : 0);
  const compare = (a, b, way) => {
    const [one, other] = [valueOf(a), valueOf(b)];
    if (kind(one) !== kind(other)) return kind(one) - kind(other);
    return way * (kind(one) || one === other ? byWords(a, b) : one < other ? -1 : 1);
  };
  const arrange = (one) => {
    const sort = [...state.sort].find((text) => text.startsWith(`${one.key}:`));
    if (one.sort === sort) return;
    one.sort = sort;
    const [, way, column] = /^.*?:(.*?):(.*)$/s.exec(sort ?? "") ?? [];
    const place = one.heads.findIndex((head) => head.textContent === column);
    for (const head of one.heads) head.ariaSort = null;
    const lines = [...one.lines];
    if (place >= 0) {
      one.heads[place].ariaSort = way === "up" ? "ascending" : "descending";
      lines.sort((a, b) => compare(a.texts[place], b.texts[place], way === "up" ? 1 : -1));
    }
    one.table.tBodies[0].append(...lines);
  };

  // A table as it is shown, as a file; a cell that a spreadsheet would run gets an apostrophe.
  const cell = (text) => {
    const runs = Number.isNaN(Number(text)) && /^\s*[=+\-@]/.test(text.normalize("NFKC"));
    return `"${(runs ? "'" : "") + text.replace(/"/g, '""')}"`;
  };
  const save = ({ table, heads, key }) => {
    const texts = all("tbody tr:not(.out, .off)", table).map((line) => line.texts);
    texts.unshift(heads.map((head) => head.textContent));
    const content = texts.map((line) => `${line.map(cell).join(",")}\r\n`);
    const href = URL.createObjectURL(new Blob(["\ufeff", ...content], { type: "text/csv" }));
    Object.assign(document.createElement("a"), { href, download: `${key}.csv` }).click();
  };
  for (const one of tables) {
    for (const head of one.heads) {
      const column = head.textContent;
      const onclick = act(() => {
        const next = { ascending: "down", descending: "" }[head.ariaSort] ?? "up";
        state.sort.delete(one.sort);
        if (next) state.sort.add(`${one.key}:${next}:${column}`);
      });
      head.replaceChildren(button(column, { onclick }));
    }
    const onclick = () => save(one);
    one.table.closest(".scroll").after(button("Save these rows as CSV", { className: "csv", onclick }));
  }

  // A row is switched off and on in all pictures by its legend or in a table, and lit by pointing.
  for (const { name, parts } of [...rows.values()].filter((row) => row.drawn)) {
    const colour = parts.flatMap((part) => [...part.classList]).find((one) => /^c\d$/.test(one)) ?? "";
    const told = { ariaLabel: `Show ${name} in the pictures`, onclick: act(() => flip(state.hide, name)) };
    for (const part of parts) {
      if (part.texts) {
        part.toggle = button("", { className: `swatch ${colour}`, title: told.ariaLabel, ...told });
        part.cells[0].prepend(part.toggle);
      } else if (part.matches(".key")) {
        part.toggle = Object.assign(part, { role: "button", ...told });
        part.onkeydown = (event) => [" ", "Enter"].includes(event.key) && (event.preventDefault(), told.onclick());
        part.setAttribute("tabindex", 0);
        part.closest("svg").role = "group";
      }
    }
  }
  let lit;
  const light = ({ target }) => {
    const row = rows.get(target.closest?.("[data-row]")?.dataset.row);
    if (row === lit) return;
    for (const part of lit?.parts ?? []) part.classList.remove("lit");
    for (const part of row?.parts ?? []) part.classList.add("lit");
    document.body.classList.toggle("lighting", Boolean(row?.drawn));
    lit = row;
  };
  for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, light);

  // An axis of a panel: its scale, its ends, where it starts and how long it is.
  const log = [Math.log10, (height) => 10 ** height];
  const error = [(value) => -Math.log10(Math.max(100.01 - value, 0.005)), (height) => 100.01 - 10 ** -height];
  const scales = { linear: [Number, Number], log, log2: log, error };
  const axisOf = (panel, axis) => {
    const [left, top, width, height] = panel.dataset.box.split(" ").map(Number);
    const [scale, ...ends] = panel.dataset[axis].split(" ");
    return { scale, ends, start: axis === "x" ? left : top + height, length: axis === "x" ? width : -height };
  };
  const place = ({ scale, ends, start, length }, value) => {
    const [low, high, at] = [...ends, value].map(scales[scale][0]);
    return start + (length * (at - low)) / (high - low);
  };
  const valueAt = ({ scale, ends, start, length }, position) => {
    const [low, high] = ends.map(scales[scale][0]);
    return scales[scale][1](low + ((high - low) * (position - start)) / length);
  };
  const within = ({ start, length }, at) => (at - start) / length >= 0 && (at - start) / length <= 1;

  // The values under the pointer: those of a mark, or of the nearest point of the panel's lines.
  const nearest = (svg, at) => {
    const found = { distance: 30, text: "" };
    const label = svg.querySelector(":scope > .label")?.textContent ?? "at";
    for (const panel of all(".panel", svg)) {
      const [x, y] = [axisOf(panel, "x"), axisOf(panel, "y")];
      if (!within(x, at.x) || !within(y, at.y)) continue;
      for (const { dataset } of all(".series[data-row]:not(.out, .off)", panel)) {
        const [xs, ys, low, high] = ["x", "y", "low", "high"].map((key) => dataset[key]?.split(" "));
        xs.forEach((value, index) => {
          const distance = Math.hypot(place(x, value) - at.x, place(y, ys[index]) - at.y);
          if (distance >= found.distance) return;
          const spread = low ? ` (${low[index]}–${high[index]})` : "";
          Object.assign(found, { distance, text: `${dataset.row}\n${label} ${value}: ${ys[index]}${spread}` });
        });
      }
    }
    return found.text;
  };
  const point = ({ target, clientX, clientY }) => {
    const svg = target.closest?.("svg.chart");
    const mark = svg && target.closest("[data-tip]");
    const at = svg && new DOMPoint(clientX, clientY).matrixTransform(svg.getScreenCTM().inverse());
    const told = mark && `${mark.closest("[data-row]")?.dataset.row ?? ""}\n${mark.dataset.tip}`;
    tip.textContent = told ?? (svg ? nearest(svg, at) : "");
    tip.hidden = !tip.textContent;
    const right = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(4, Math.min(clientX + 14, right))}px`;
    tip.style.top = `${clientY + 18}px`;
  };
  for (const kind of ["pointermove", "pointerdown"]) document.addEventListener(kind, point);
  for (const title of all("svg title")) title.remove(); // the browser would show it as well

  // A linear axis becomes logarithmic, any other one linear: what stands along it moves.
  const along = (panel, axis, change) => {
    const inPath = (_, command, numbers) => command + numbers.trim().split(/[\s,]+/).map((one, index) =>
      (({ H: "x", V: "y" })[command] ?? "xy"[index % 2]) === axis ? change(one) : one).join(" ");
    const moved = (part, key) => [part, key, change(part.getAttribute(key))];
    const paths = all("path", panel);
    return [
      ...paths.map((part) => [part, "d", part.getAttribute("d").replace(/([MLHV])([^a-zA-Z]+)/g, inPath)]),
      ...all("circle", panel).map((part) => moved(part, `c${axis}`)),
      ...all(".series text, .row .muted", panel).map((part) => moved(part, axis)),
    ];
  };
  const rescaled = (panel, axis) => {
    const from = axisOf(panel, axis);
    const to = { ...from, scale: from.scale === "linear" ? "log" : "linear" };
    const [low, high] = from.ends.map(Number);
    const values = [];
    along(panel, axis, (at) => values.push(valueAt(from, at)));
    const least = Math.min(...values.filter((value) => value > high / 1e4));
    if (to.scale === "log" && low <= 0) to.ends = [least * 0.9, high];
    const changes = along(panel, axis, (at) => {
      const share = (place(to, Math.max(to.ends[0], valueAt(from, at))) - to.start) / to.length;
      return (to.start + to.length * Math.min(1, Math.max(0, share))).toFixed(1);
    });
    let taken = -1e9;
    for (const tick of all(`.ticks.${axis} text`, panel).reverse()) {
      const at = place(to, tick.dataset.v);
      const free = within(to, at) && Math.abs(at - taken) > (axis === "x" ? 30 : 11);
      if (free) taken = at;
      const moved = Number(tick.getAttribute(axis)) + at - place(from, tick.dataset.v);
      changes.push([tick, axis, free ? moved : -1e3]);
    }
    return [...changes, [panel, `data-${axis}`, [to.scale, ...to.ends].join(" ")]];
  };
  const figures = all("figure:not(:has(.part))").map((figure) => { // parts of a bar add up, if linear
    const axis = figure.querySelector(".series") ? "y" : "x";
    const linear = axisOf(figure.querySelector(".panel"), axis).scale === "linear";
    const onclick = act(() => flip(state.axis, figure.dataset.picture));
    const press = button(linear ? "Logarithmic axis" : "Linear axis", { className: "axis", onclick });
    figure.querySelector("svg").after(press);
    return { figure, axis, press };
  });
  const scale = (one) => {
    const is = state.axis.has(one.figure.dataset.picture);
    one.press.ariaPressed = String(is);
    if (is === Boolean(one.undo)) return;
    const changes = one.undo ?? all(".panel", one.figure).flatMap((panel) => rescaled(panel, one.axis));
    one.undo = is && changes.map(([part, key]) => [part, key, part.getAttribute(key)]);
    for (const [part, key, value] of changes) part.setAttribute(key, value);
  };

  // The address: a section, and then what the reader chose.
  let soon;
  const write = () => {
    const chosen = new URLSearchParams(state.filter && { filter: state.filter });
    for (const key of ["hide", "sort", "axis"]) state[key].forEach((text) => chosen.append(key, text));
    const hash = [state.section, chosen.toString()].filter(Boolean).join("&");
    clearTimeout(soon); // browsers limit how often an address may change
    const address = hash ? `#${hash}` : location.pathname + location.search;
    soon = setTimeout(() => history.replaceState(null, "", address), 150);
  };
  const read = () => {
    const parts = location.hash.slice(1).split("&");
    state.section = parts[0].includes("=") ? "" : parts.shift();
    if (state.section && !parts.length) return write(); // a link to a section keeps what was chosen
    const chosen = new URLSearchParams(parts.join("&"));
    state.filter = chosen.get("filter") ?? "";
    for (const key of ["hide", "sort", "axis"]) state[key] = new Set(chosen.getAll(key));
    draw();
    document.getElementById(state.section)?.scrollIntoView();
  };
  box.oninput = act(() => (state.filter = box.value));
  reset.onclick = act(() => (state.filter = "", state.hide.clear(), box.focus()));
  addEventListener("hashchange", read);
  tools.hidden = false;
  draw();
  read();
})();
