(() => { "use strict";
  const all = (selector, at = document) => [...at.querySelectorAll(selector)];
  const button = (textContent, properties) =>
    Object.assign(document.createElement("button"), { type: "button", textContent, ...properties });
  const flip = (set, name) => set.delete(name) || set.add(name);
  const [tools, box, count, reset, tip] = all(".tools, .tools > *, .tip");
  // What the reader chose: hidden rows, "table:up:column", pictures whose axis has the other scale.
  const state = { section: "", filter: "", hide: new Set(), sort: new Set(), axis: new Set() };
  const act = (change) => () => (change(), draw(), write());
  // Rows by name: the parts of the page that belong to each, and the text that the filter reads.
  const rows = new Map();
  const add = (name, part, texts) => {
    if (!rows.has(name)) rows.set(name, { name, parts: [], text: "" });
    const row = rows.get(name);
    row.parts.push(part);
    row.text += `${texts.join("\n")}\n`;
    row.drawn ||= part.closest("svg");
  };
  const tables = all("table").map((table) => {
    const lines = [...table.tBodies[0].rows];
    for (const line of lines) {
      line.texts = [...line.cells].map((cell) => cell.textContent);
      if (table.matches(".runs")) line.dataset.row = line.texts[0];
      else if (table.matches(".others")) add(line, line, [table.ariaLabel, ...line.texts]);
    }
    return { table, lines, key: table.dataset.table, heads: all("thead th", table) };
  });
  for (const part of all("[data-row]")) add(part.dataset.row, part, part.texts ?? [part.dataset.row]);
  const named = [...rows.values()].filter((row) => typeof row.name === "string");
  // The filter finds rows with all of its words in their cells; 5 is neither in 1.5 nor in 50.
  const draw = () => {
    const words = state.filter.trim().split(/\s+/).map((word) => {
      const exact = word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
      return new RegExp(/^\d/.test(word) ? `(?<![\\d.,])${exact}(?!\\d)` : exact, "iu");
    });
    for (const row of rows.values()) {
      row.out = !words.every((word) => word.test(row.text));
      row.off = state.hide.has(row.name);
      for (const part of row.parts) {
        part.classList.toggle("out", row.out);
        part.classList.toggle("off", row.off);
        if (part.toggle) part.toggle.ariaPressed = String(!row.off);
      }
    }
    tables.forEach(arrange);
    figures.forEach(rescale);
    all("svg:has(.row)").forEach(close);
    const shown = named.filter((row) => !row.out && !row.off).length;
    count.textContent = `${shown} of ${named.length} rows`;
    reset.hidden = shown === named.length && !state.filter;
    box.value = state.filter;
  };
  // The lines of a picture close up over those that are filtered out.
  const close = (svg) => {
    const lines = all(".row", svg);
    const pitch = svg.querySelector(".panel").dataset.box.split(" ")[3] / lines.length;
    let up = 0;
    for (const part of [...lines, ...all(".panel > :not(.row), svg > :not(.panel)", svg)]) {
      part.setAttribute("transform", `translate(0 ${-up})`);
      if (part.matches(".row.out")) up += pitch;
    }
    svg.size ??= svg.getAttribute("viewBox").split(" ").slice(2);
    svg.setAttribute("viewBox", `0 0 ${svg.size[0]} ${svg.size[1] - up}`);
  };
  // Sorting: numbers by value and unit, other text by its words and numbers; what is unknown last.
  const units = { ns: 1e-9, "µs": 1e-6, ms: 1e-3, min: 60, h: 3600, k: 1e3, M: 1e6, KiB: 1024, MiB: 2 ** 20, GiB: 2 ** 30 };
  const number = /^[\s≤≥<>×~≈([]*([-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)\s*([a-zA-Zµ]*)/;
  const valueOf = (text) => {
    if (text === "–" || !text) return [2, 0];
    if (/reached|^∞/.test(text)) return [0, Infinity];
    const [, digits, unit] = number.exec(text) ?? [];
    return digits ? [0, digits.replace(/,/g, "").replace("−", "-") * (units[unit] ?? 1)] : [1, 0];
  };
  const byWords = (a, b) => {
    const [one, other] = [a, b].map((text) => text.split(/(\d+(?:\.\d+)?)/));
    const at = one.findIndex((part, index) => part !== other[index]);
    if (at < 0) return one.length - other.length;
    return at % 2 ? one[at] - (other[at] ?? 0) : one[at].localeCompare(other[at] ?? "");
  };
  const arrange = (one) => {
    const sort = [...state.sort].find((text) => text.startsWith(`${one.key}:`));
    if (one.sort === sort) return;
    one.sort = sort;
    const [, way, column] = /^.*?:(.*?):(.*)$/s.exec(sort ?? "") ?? [];
    const place = one.heads.findIndex((head) => head.textContent === column);
    for (const head of one.heads) head.ariaSort = null;
    if (place >= 0) one.heads[place].ariaSort = way === "up" ? "ascending" : "descending";
    one.table.tBodies[0].append(...[...one.lines].sort((...pair) => {
      if (place < 0) return 0;
      const [a, b] = pair.map((line) => line.texts[place]);
      const [[kind, value], [otherKind, other]] = [a, b].map(valueOf);
      return kind - otherKind || (way === "up" ? 1 : -1) * (value - other || byWords(a, b));
    }));
  };
  // A table as it is shown, as a file; a cell that a spreadsheet would run gets an apostrophe.
  const runs = (text) => Number.isNaN(Number(text)) && /^\s*[=+\-@]/.test(text.normalize("NFKC"));
  const cell = (text) => `"${runs(text) ? "'" : ""}${text.replace(/"/g, '""')}"`;
  const save = ({ table, heads, key }) => {
    const texts = all("tbody tr:not(.out, .off)", table).map((line) => line.texts);
    const lines = [heads.map((head) => head.textContent), ...texts].map((line) => `${line.map(cell).join(",")}\r\n`);
    const href = URL.createObjectURL(new Blob(["\ufeff", ...lines], { type: "text/csv" }));
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
  // A row is switched off and on in all pictures, in a table or by a legend, and lit by pointing at it.
  for (const { name, parts } of named.filter((row) => row.drawn)) {
    const colour = parts.flatMap((part) => [...part.classList]).find((one) => /^c\d$/.test(one)) ?? "";
    const onclick = act(() => flip(state.hide, name));
    const onkeydown = (event) => /^( |Enter)$/.test(event.key) && (event.preventDefault(), onclick());
    const swatch = { className: `swatch ${colour}`, title: `Show ${name} in pictures`, onclick };
    for (const part of parts) {
      if (part.texts) part.cells[0].prepend((part.toggle = button("", swatch)));
      if (!part.matches(".key")) continue;
      part.toggle = Object.assign(part, { role: "button", tabIndex: 0, onclick, onkeydown });
      part.closest("svg").role = "group"; // a picture alone would hide its buttons
    }
  }
  const light = ({ target }) => {
    const row = rows.get(target.closest?.("[data-row]")?.dataset.row);
    if (row === light.row) return;
    for (const part of [...light.row?.parts ?? [], ...row?.parts ?? []]) part.classList.toggle("lit");
    document.body.classList.toggle("lighting", Boolean(row?.drawn));
    light.row = row;
  };
  for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, light);
  // An axis of a panel: where a value is, from 0 to 1 and on the picture, and which value is somewhere.
  const error = [(value) => -Math.log10(Math.max(100.01 - value, 0.005)), (height) => 100.01 - 10 ** -height];
  const scales = { linear: [Number, Number], log: [Math.log10, (height) => 10 ** height], error };
  const axisOf = (panel, axis, told = panel.dataset[axis]) => {
    const [left, top, width, height] = panel.dataset.box.split(" ").map(Number);
    const [scale, ...ends] = told.split(" ");
    const [start, length] = axis === "x" ? [left, width] : [top + height, -height];
    const [forth, back] = scales[scale.replace("2", "")];
    const [low, high] = ends.map(forth);
    const share = (value) => (forth(value) - low) / (high - low);
    const value = (at) => back(low + ((high - low) * (at - start)) / length);
    return { scale, ends: ends.map(Number), share, value, place: (one) => start + length * share(one), start };
  };
  // The values under the pointer: those of a mark, or of the nearest point of the panel's lines.
  const nearest = (svg, at) => {
    const found = { distance: 30, text: "" }; // units of the picture
    for (const panel of all(".panel", svg)) {
      const [x, y] = [axisOf(panel, "x"), axisOf(panel, "y")];
      if ([x.share(x.value(at.x)), y.share(y.value(at.y))].some((share) => share < 0 || share > 1)) continue;
      for (const { dataset } of all(".series[data-row]:not(.pale, .out, .off)", panel)) {
        const [xs, ys, low, high] = ["x", "y", "low", "high"].map((key) => dataset[key]?.split(" "));
        xs.forEach((value, index) => {
          const distance = Math.hypot(x.place(value) - at.x, y.place(ys[index]) - at.y);
          if (distance >= found.distance) return;
          const spread = low ? ` (${low[index]}–${high[index]})` : "";
          const label = svg.querySelector(":scope > .label")?.textContent ?? "at";
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
    tip.style.translate = `${Math.max(4, Math.min(clientX + 14, right))}px ${clientY + 18}px`;
  };
  for (const kind of ["pointermove", "pointerdown"]) document.addEventListener(kind, point);
  for (const title of all("svg title")) title.remove(); // the browser would show it as well
  // A linear axis becomes logarithmic, any other one linear: all that stands along it moves.
  const rescaled = (panel, axis) => {
    const from = axisOf(panel, axis);
    const marks = all("circle, path, .series text, .row .muted", panel).map((part) => {
      const key = { circle: `c${axis}`, path: "d" }[part.localName] ?? axis;
      return [part, key, part.getAttribute(key)];
    });
    const values = marks.flatMap(([, key, text]) => (key === "d" ? [] : from.value(text)));
    const [low, high] = from.ends;
    const least = low > 0 ? low : 0.9 * Math.min(...values.filter((value) => value > high / 1e4));
    const told = from.scale === "linear" ? `log ${least} ${high}` : `linear ${low} ${high}`;
    const to = axisOf(panel, axis, told);
    const moved = (at) => to.place(Math.min(high, Math.max(to.ends[0], from.value(at)))).toFixed(1);
    const inPath = (_, x, y) => (axis === "x" ? `${moved(x)} ${y}` : `${x} ${moved(y)}`);
    let taken = Infinity;
    const ticks = all(`.ticks.${axis} text`, panel).reverse().flatMap((tick) => {
      const at = to.place(tick.dataset.v);
      const free = to.share(tick.dataset.v) >= 0 && Math.abs(at - taken) > (axis === "x" ? 30 : 11);
      if (free) taken = at;
      const where = Number(tick.getAttribute(axis)) + at - from.place(tick.dataset.v);
      return free ? [[tick, axis, where]] : [[tick, "visibility", "hidden"]];
    });
    const shifted = marks.map(([part, key, text]) =>
      [part, key, key === "d" ? text.replace(/(-?[\d.]+) (-?[\d.]+)/g, inPath) : moved(text)]);
    return [...shifted, ...ticks, [panel, `data-${axis}`, told]];
  };
  const figures = all("figure:not(:has(.part))").map((figure) => { // parts of a bar add up, if linear
    const axis = figure.querySelector(".series") ? "y" : "x";
    const linear = axisOf(figure.querySelector(".panel"), axis).scale === "linear";
    const press = button(linear ? "Logarithmic axis" : "Linear axis", { className: "axis" });
    press.onclick = act(() => flip(state.axis, figure.dataset.picture));
    figure.querySelector("svg").after(press);
    return { figure, axis, press };
  });
  const rescale = (one) => {
    const other = state.axis.has(one.figure.dataset.picture);
    one.press.ariaPressed = String(other);
    if (other === Boolean(one.undo)) return;
    const changes = one.undo || all(".panel", one.figure).flatMap((panel) => rescaled(panel, one.axis));
    one.undo = other && changes.map(([part, key]) => [part, key, part.getAttribute(key) ?? "visible"]);
    for (const [part, key, value] of changes) part.setAttribute(key, value);
  };
  // The address: a section, and then what the reader chose.
  const write = () => {
    const chosen = new URLSearchParams(state.filter && { filter: state.filter });
    for (const key of ["hide", "sort", "axis"]) state[key].forEach((text) => chosen.append(key, text));
    const hash = [state.section, chosen.toString()].filter(Boolean).join("&");
    const address = hash ? `#${hash}` : location.pathname + location.search;
    clearTimeout(write.soon); // browsers limit how often an address may change
    write.soon = setTimeout(() => history.replaceState(null, "", address), 150);
  };
  const read = ({ newURL = location.href }) => { // the address may have changed again since
    const parts = new URL(newURL).hash.slice(1).split("&");
    state.section = parts[0].includes("=") ? "" : parts.shift();
    if (parts.length || !state.section) { // a link to a section keeps what was chosen
      const chosen = new URLSearchParams(parts.join("&"));
      state.filter = chosen.get("filter") ?? "";
      for (const key of ["hide", "sort", "axis"]) state[key] = new Set(chosen.getAll(key));
    }
    draw();
    write();
    document.getElementById(state.section)?.scrollIntoView();
  };
  box.oninput = act(() => (state.filter = box.value));
  reset.onclick = act(() => (state.filter = "", state.hide.clear(), box.focus()));
  addEventListener("hashchange", read);
  tools.hidden = false;
  read({});
})();
