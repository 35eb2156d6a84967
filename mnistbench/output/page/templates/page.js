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
        for (const key of ["out", "off"]) part.classList.toggle(key, row[key]);
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
    let up = 0;
    for (const part of [...lines, ...all(".panel > :not(.row), svg > :not(.panel)", svg)]) {
      part.setAttribute("transform", `translate(0 ${-up})`);
      if (part.matches(".row.out")) up += svg.querySelector(".panel").dataset.box.split(" ")[3] / lines.length;
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
    const order = { up: "ascending", down: "descending" }[way];
    one.heads.forEach((head, index) => (head.ariaSort = index === place ? order : null));
    one.table.tBodies[0].append(...[...one.lines].sort((...pair) => {
      const [a, b] = pair.map((line) => line.texts[place] ?? "");
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
    one.table.closest(".scroll").after(button("Save these rows as CSV", { className: "csv", onclick: () => save(one) }));
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
    const line = (at) => (axis === "x" ? `M${at} ${top}v${height}` : `M${left} ${at}h${width}`);
    return { scale, ends: ends.map(Number), share, value, place: (one) => start + length * share(one), line };
  };
  // The values under the pointer: those of a mark, or of the nearest point of the panel's lines.
  const nearest = (svg, pointer) => {
    const at = pointer.matrixTransform(svg.getScreenCTM().inverse());
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
    const mark = svg && target.closest("[data-tip]"), told = mark && `${mark.closest("[data-row]")?.dataset.row ?? ""}\n${mark.dataset.tip}`;
    tip.textContent = told ?? (svg ? nearest(svg, new DOMPoint(clientX, clientY)) : "");
    const right = Math.min(clientX + 14, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.translate = `${Math.max(4, right)}px ${Math.min(clientY + 18, innerHeight - tip.offsetHeight - 8)}px`;
  };
  const heard = { pointerover: light, focusin: light, pointermove: point, pointerdown: point };
  for (const kind in heard) document.addEventListener(kind, heard[kind]);
  for (const title of all("svg title")) title.remove(); // the browser would show it as well
  // Round numbers of an axis: 1, 2 and 5 in each power of ten, or multiples of these.
  const rounds = ({ scale, ends: [low, high] }) => {
    const several = scale === "log" && high > 10 * low;
    const power = 10 ** Math.floor(Math.log10(several ? low : (high - low) / 3));
    const step = power * [5, 2, 1].find((factor) => 3 * factor * power <= high - low);
    const round = (k) => (several ? power * [1, 2, 5][k % 3] * 10 ** Math.floor(k / 3) : step * (Math.ceil(low / step) + k));
    return [...Array(20).keys()].map((k) => Number(round(k).toPrecision(9))).filter((one) => one >= low && one <= high);
  };
  // A linear axis becomes logarithmic, any other one linear: all that stands along it moves.
  const rescaled = (panel, axis) => {
    const { ends: [low, high], ...from } = axisOf(panel, axis);
    const keyOf = ({ localName }) => ({ circle: `c${axis}`, path: "d" })[localName] ?? axis;
    const marks = all("circle, path:not(.grid *), .series text, .row .muted", panel)
      .map((part) => [part, keyOf(part), part.getAttribute(keyOf(part))]);
    const values = marks.flatMap(([, key, text]) => (key === "d" ? [] : from.value(text)));
    const least = low > 0 ? low : 0.9 * Math.min(...values.filter((value) => value > high / 1e4));
    const told = from.scale === "linear" ? `log ${least} ${high}` : `linear ${low} ${high}`;
    const to = axisOf(panel, axis, told);
    const moved = (at) => to.place(Math.min(high, Math.max(to.ends[0], from.value(at)))).toFixed(1);
    const inPath = (_, x, y) => (axis === "x" ? `${moved(x)} ${y}` : `${x} ${moved(y)}`);
    const shifted = marks.map(([part, key, text]) =>
      [part, key, key === "d" ? text.replace(/(-?[\d.]+) (-?[\d.]+)/g, inPath) : moved(text)]);
    const grid = rounds(to).map((value) => to.line(to.place(value))).join("");
    const ticks = (group) => rounds(to).map((value) => {
      const tick = group.firstElementChild.cloneNode();
      tick.textContent = value < 1e7 ? value.toLocaleString("en", { maximumSignificantDigits: 6 }) : value.toExponential();
      tick.setAttribute(axis, Number(tick.getAttribute(axis)) + to.place(value) - from.place(tick.dataset.v));
      return tick;
    });
    const labels = all(`.ticks.${axis}`, panel).map((group) => [group, "", ticks(group)]);
    return [...shifted, ...labels, [panel.querySelector(`.grid .${axis}`), "d", grid], [panel, `data-${axis}`, told]];
  };
  const figures = all("figure:not(:has(.part))").map((figure) => { // parts of a bar add up, if linear
    const axis = figure.querySelector(".series") ? "y" : "x";
    const { scale } = axisOf(figure.querySelector(".panel"), axis);
    const onclick = act(() => flip(state.axis, figure.dataset.picture));
    const press = button(scale === "linear" ? "Logarithmic axis" : "Linear axis", { className: "axis", onclick });
    figure.querySelector("svg").after(press);
    return { figure, axis, press };
  });
  const rescale = (one) => {
    const other = state.axis.has(one.figure.dataset.picture);
    one.press.ariaPressed = String(other);
    if (other === Boolean(one.undo)) return;
    const changes = one.undo || all(".panel", one.figure).flatMap((panel) => rescaled(panel, one.axis));
    one.undo = other && changes.map(([part, key]) => [part, key, part.getAttribute(key) ?? [...part.children]]);
    for (const [part, key, value] of changes) key ? part.setAttribute(key, value) : part.replaceChildren(...value);
  };
  // The address: a section, and then what the reader chose.
  const write = () => {
    const chosen = new URLSearchParams(state.filter && { filter: state.filter });
    for (const key of ["hide", "sort", "axis"]) state[key].forEach((text) => chosen.append(key, text));
    const hash = [state.section, chosen.toString()].filter(Boolean).join("&");
    clearTimeout(write.soon); // browsers limit how often an address may change
    write.soon = setTimeout(() => history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search), 150);
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
  tools.hidden = named.length < 2;
  read({});
})();
