"use strict";
const data = JSON.parse(document.getElementById("page-data").textContent);

// Which methods are shown, in every figure, table and player at once.
const group = document.querySelector(".methods");
const hidden = document.head.appendChild(element("style"));
const chips = [...group.querySelectorAll("[data-method]")];
for (const part of group.children) part.hidden = false;
function showMethods() {
  const off = chips.filter((chip) => chip.getAttribute("aria-pressed") === "false");
  hidden.textContent = off.map((chip) => `[data-series="${chip.dataset.method}"]{display:none!important}`).join("");
}
group.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { all } = button.dataset;
  if (all) for (const chip of chips) chip.setAttribute("aria-pressed", all);
  else button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") === "false"));
  showMethods();
});

// Tables that sort by a click on a heading: first click on numbers descending, empty cells last.
function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = Number(text);
  return text === "" || text === "nan" || text === "–" ? null : Number.isNaN(number) ? text : number;
}
for (const table of document.querySelectorAll("table[data-sortable]")) {
  table.tHead.addEventListener("click", (event) => {
    const heading = event.target.closest("th");
    if (!event.target.closest("button")) return;
    const numeric = heading.classList.contains("n");
    const next = { none: numeric ? "descending" : "ascending", ascending: "descending", descending: "ascending" };
    const order = next[heading.getAttribute("aria-sort")];
    for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row, heading.cellIndex), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (typeof a === "string" || typeof b === "string" ? String(a).localeCompare(String(b)) : a - b);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  });
}

for (const field of document.querySelectorAll("input[data-filters]")) {
  const paragraph = field.closest(".filter");
  const rows = [...document.getElementById(field.dataset.filters).tBodies[0].rows];
  paragraph.hidden = false;
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.cells[0].textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const left = rows.filter((row) => !row.hidden).length;
    paragraph.querySelector("output").textContent = words.length ? `${left} of ${rows.length} methods` : "";
  });
}

// Any two methods, side by side.
function choice(title, names, chosen) {
  const select = element("select", {}, ...names.map((name) => element("option", { value: name }, data.labels[name] ?? name)));
  select.value = chosen;
  return [select, element("label", {}, title, select)];
}
const label = (name) => data.labels[name] ?? name;
const digits = (x, places = 3) => (x === null ? "–" : x.toFixed(places));
const signed = (x, places) => (x === null ? "–" : (x > 0 ? "+" : "") + x.toFixed(places));
// Two digits of half the width of an interval.
const placesOf = (low, high) => (high > low ? Math.min(6, Math.max(0, 1 - Math.floor(Math.log10((high - low) / 2)))) : 2);
const probability = (p) => (p === null ? "–" : p < 0.001 ? "< 0.001" : p > 0.99 ? "> 0.99" : p.toFixed(p >= 0.0995 ? 2 : 3));
const told = { settings: "is better", models: "is better, as far as these models show", "one speaker": "is better for this speaker" };
const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;

function compare(box) {
  const test = data.test_sets[box.dataset.testSet];
  const metrics = Object.keys(test.values);
  const methods = data.methods.filter((name) => metrics.some((metric) => name in test.values[metric]));
  const ranked = methods.filter((name) => name !== "oracle");
  const [first, firstLabel] = choice("First", methods, ranked[0]);
  const [second, secondLabel] = choice("Second", methods, ranked[1] ?? ranked[0]);
  const [metric, metricLabel] = choice("Figure", metrics.map((name) => data.titles[name]), data.titles[metrics[0]]);
  const result = element("div", { class: "result", "aria-live": "polite" });
  const form = element("form", {}, firstLabel, secondLabel, metricLabel);
  form.addEventListener("submit", (event) => event.preventDefault());
  const update = () => result.replaceChildren(
    differences(test, metrics, first.value, second.value),
    scatter(test, metrics[metric.selectedIndex], first.value, second.value),
  );
  form.addEventListener("change", update);
  box.append(form, result);
  update();
}

function differences(test, metrics, first, second) {
  const table = element("table", {}, element("caption", { class: "hidden" }, `${label(first)} less ${label(second)}`));
  const head = ["Metric", `${label(first)} − ${label(second)}`, "95 % interval", "p", "n", "Shown", "Varies by (seed, speaker, utterance)", "Would take"];
  table.append(element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))));
  const body = element("tbody");
  for (const metric of metrics) {
    const pair = test.pairs.find(([m, a, b]) => m === metric && ((a === first && b === second) || (a === second && b === first)));
    const row = element("tr", {}, element("th", { scope: "row" }, data.titles[metric]));
    if (!pair) {
      row.append(element("td", { colspan: "7" }, first === second ? "the same method" : "not compared"));
    } else {
      const sign = pair[1] === first ? 1 : -1;
      const ends = [pair[4], pair[5]].map((x) => (x === null ? null : sign * x)).sort((a, b) => a - b);
      const winner = sign * pair[3] > 0 ? first : second;
      const said = pair[8] in told ? `${label(winner)} ${told[pair[8]]}` : "not shown";
      const places = placesOf(...ends);
      const spread = pair.slice(9, 12).map((x) => digits(x, places)).join(", ");
      const [seeds, speakers, utterances] = pair.slice(12).map((x) => (x === null ? null : Number(x.toPrecision(2))));
      const spoken = utterances !== null && (speakers === null ? `${utterances} utterances` : `${speakers} speakers (${utterances} utterances)`);
      const needs = [seeds !== null && `${seeds} seeds`, spoken].filter(Boolean).join(" or ");
      const cells = [signed(pair[3] === null ? null : sign * pair[3], places), `${signed(ends[0], places)} … ${signed(ends[1], places)}`, probability(pair[6]), String(pair[7])];
      row.append(...cells.map((text) => element("td", { class: "n" }, text)), element("td", {}, said), element("td", { class: "n" }, spread), element("td", {}, needs || "–"));
    }
    body.append(row);
  }
  table.append(body);
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Differences" }, table);
}

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// The next of 1, 2 or 5 times a power of ten.
function roundStep(x) {
  const power = 10 ** Math.floor(Math.log10(x));
  return power * [1, 2, 5, 10].find((leading) => leading * power >= x * 0.999);
}

function scatter(test, metric, first, second) {
  const [xs, ys] = [test.values[metric][second], test.values[metric][first]];
  const points = test.ids.map((id, k) => [xs?.[k] ?? null, ys?.[k] ?? null, k]).filter(([x, y]) => x !== null && y !== null);
  if (!points.length) return element("p", {}, "no utterance has this metric for both");
  const all = points.flatMap(([x, y]) => [x, y]);
  const step = roundStep((Math.max(...all) - Math.min(...all) || 1) / 5);
  const low = Math.floor(Math.min(...all) / step) * step;
  const span = Math.ceil((Math.max(...all) - low) / step) * step || step;
  const place = (value) => 45 + (265 * (value - low)) / span;
  const better = points.filter(([x, y]) => y > x).length;
  const told = `${data.titles[metric]} of each utterance: ${label(first)} is higher for ${better} of ${points.length}`;
  const picture = svg("svg", { viewBox: "0 0 335 350", role: "img", "aria-label": told });
  const places = Math.max(0, -Math.floor(Math.log10(step)));
  for (let k = 0; k * step <= span * 1.001; k += 1) {
    const value = low + k * step;
    const at = place(value);
    picture.append(
      svg("line", { x1: at, x2: at, y1: 10, y2: 275 }), svg("line", { x1: 45, x2: 310, y1: 320 - at, y2: 320 - at }),
      svg("text", { x: at, y: 290, "text-anchor": "middle" }, digits(value, places)),
      svg("text", { x: 40, y: 324 - at, "text-anchor": "end" }, digits(value, places)),
    );
  }
  picture.append(svg("line", { x1: 45, y1: 275, x2: 310, y2: 10, style: "stroke:currentColor" }));
  for (const [x, y, k] of points) {
    const about = `${test.ids[k]} (${test.about[k]}): ${label(first)} ${digits(y, 2)}, ${label(second)} ${digits(x, 2)}`;
    picture.append(svg("circle", { cx: place(x), cy: 320 - place(y), r: 3 }, svg("title", {}, about)));
  }
  picture.append(svg("text", { x: 178, y: 308, "text-anchor": "middle" }, label(second)), svg("text", { x: 178, y: 326, "text-anchor": "middle" }, `${label(first)} (upwards)`));
  const caption = element("figcaption", { class: "note" }, `${told}, above the line. Mean ${label(first)} ${digits(mean(points.map((p) => p[1])), 2)}, ${label(second)} ${digits(mean(points.map((p) => p[0])), 2)}.`);
  return element("figure", {}, picture, caption);
}
for (const box of document.querySelectorAll(".compare")) compare(box);

// One player for each utterance: noisy, every method and clean, switched in place.
function player(box, number) {
  const { rate, sources } = JSON.parse(box.querySelector("script").textContent);
  const switcher = new Switcher(sources, rate);
  const size = 2 ** Math.round(Math.log2(0.032 * rate));
  const button = element("button", { type: "button" }, "Play");
  const seek = element("input", { type: "range", min: "0", max: "1000", value: "0", "aria-label": "Place" });
  const clock = element("span", { class: "clock", role: "timer" }, "0.0 s");
  const fieldset = element("fieldset", {}, element("legend", { class: "hidden" }, "Signal that is heard"));
  const radios = sources.map(({ name }, place) => {
    const radio = element("input", { type: "radio", name: `player-${number}`, checked: place === 0 });
    const series = data.methods.indexOf(name);
    const attributes = series < 0 || name === "noisy" ? {} : { "data-series": String(series) };
    fieldset.append(element("label", attributes, radio, label(name)));
    return radio;
  });
  const canvas = element("canvas", { role: "img", "aria-label": "Spectrogram" });
  const head = element("i");
  const screen = element("div", { class: "screen" }, canvas, head, element("span", { class: "top" }), element("span", { class: "bottom" }, "0 kHz"));
  box.append(element("div", { class: "transport" }, button, seek, clock), fieldset, screen);

  const pictures = [];
  let top = null;
  async function draw() {
    await switcher.load();
    if (!switcher.playing) show(); // how long it is
    const { chosen } = switcher;
    const picture = (place) => (pictures[place] ??= spectrogram(switcher.buffers[place].getChannelData(0), size, 600));
    // All on the scale of the noisy signal.
    top ??= Math.max(...picture(0).map((frame) => frame.reduce((a, b) => Math.max(a, b), -120)));
    drawSpectrogram(canvas, picture(chosen), top);
    canvas.setAttribute("aria-label", `Spectrogram of ${label(sources[chosen].name)}`);
    screen.querySelector(".top").textContent = `${label(sources[chosen].name)}, up to ${rate / 2000} kHz`;
    box.dataset.drawn = sources[chosen].name;
  }
  function show() {
    const part = switcher.duration ? switcher.time / switcher.duration : 0;
    seek.value = String(1000 * part);
    head.style.left = `${100 * part}%`;
    const whole = switcher.duration ? ` of ${switcher.duration.toFixed(1)}` : "";
    clock.textContent = `${switcher.time.toFixed(1)}${whole} s`;
    button.textContent = switcher.playing ? "Pause" : "Play";
    if (switcher.playing) requestAnimationFrame(show);
  }
  switcher.onend = show;
  async function toggle() {
    if (switcher.playing) switcher.pause();
    else await switcher.play();
    show();
  }
  function choose(place) {
    radios[place].checked = true;
    switcher.choose(place);
    draw();
  }
  button.addEventListener("click", toggle);
  seek.addEventListener("input", async () => {
    await switcher.load();
    await switcher.seek((switcher.duration * Number(seek.value)) / 1000);
    show();
  });
  fieldset.addEventListener("change", () => choose(radios.findIndex((radio) => radio.checked)));
  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const digit = event.key === "0" ? 9 : Number(event.key) - 1;
    if (event.key === " " && event.target !== button) toggle();
    else if (event.key === "n") choose(0);
    else if (event.key === "c") choose(sources.length - 1);
    else if (/^\d$/.test(event.key) && digit < sources.length) choose(digit);
    else return;
    event.preventDefault();
  });
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    draw();
  }, { rootMargin: "200px" }).observe(box);
}
document.querySelectorAll(".player").forEach(player);

// Files of figures and tables, which are packed in this page: it may be all that there is.
const packed = JSON.parse(document.getElementById("files").textContent);
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[download]");
  const path = link?.getAttribute("href");
  if (!(path in packed)) return;
  event.preventDefault();
  const bytes = Uint8Array.from(atob(packed[path]), (sign) => sign.charCodeAt(0));
  const content = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const address = URL.createObjectURL(await new Response(content).blob());
  const saved = element("a", { href: address, download: path.split("/").pop() });
  saved.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
});

// On paper everything is open.
window.addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details:not([open])")) if (!one.querySelector("pre")) one.open = true;
});
