"use strict";
const test = JSON.parse(document.getElementById("test").textContent);
const sections = Object.fromEntries(["start", "trial", "end"].map((id) => [id, document.getElementById(id)]));
const heading = document.getElementById("heading");
const place = `denoise-listening-${test.id}`;
const answers = { test: test.id, experiment: test.experiment, kind: test.kind, listener: "", began: "", ratings: [] };

// Fisher and Yates, from the browser's own source of chance.
function shuffled(items) {
  const found = [...items];
  for (let k = found.length - 1; k > 0; k--) {
    const other = crypto.getRandomValues(new Uint32Array(1))[0] % (k + 1);
    [found[k], found[other]] = [found[other], found[k]];
  }
  return found;
}

function keep() {
  // Some browsers keep nothing for files.
  try {
    localStorage.setItem(place, JSON.stringify({ order, answers }));
  } catch {}
}
function kept() {
  try {
    return JSON.parse(localStorage.getItem(place));
  } catch {
    return null;
  }
}

let order = shuffled(test.trials.map((_, k) => k));
let current; // what the keys act on

function show(name, title) {
  for (const [id, section] of Object.entries(sections)) section.hidden = id !== name;
  heading.textContent = title;
  heading.focus();
}

document.getElementById("listener").addEventListener("submit", (event) => {
  event.preventDefault();
  const listener = event.target.querySelector("input").value.trim();
  const earlier = kept();
  if (earlier && earlier.answers.listener === listener) {
    order = earlier.order;
    Object.assign(answers, earlier.answers);
  } else {
    Object.assign(answers, { listener, began: new Date().toISOString(), ratings: [] });
  }
  next();
});

function next() {
  current?.switcher.pause();
  current = undefined;
  if (answers.ratings.length === order.length) {
    show("end", "Done");
    return;
  }
  const number = answers.ratings.length;
  show("trial", `Page ${number + 1} of ${order.length}`);
  trial(test.trials[order[number]]);
}

function trial({ id, rate, reference, versions }) {
  const shown = shuffled(versions);
  const switcher = new Switcher([{ name: "reference", uri: reference }, ...shown.map(({ uri }) => ({ uri }))], rate);
  switcher.loop = true;
  const heard = new Set();
  const name = (k) => (k === 0 ? test.reference : test.kind === "ab" ? "AB"[k - 1] : `Version ${k}`);
  const buttons = [0, ...shown.map((_, k) => k + 1)].map((k) => {
    const button = element("button", { type: "button", "aria-pressed": String(k === 0), class: "version" }, name(k));
    button.addEventListener("click", () => choose(k, true));
    return button;
  });
  const play = element("button", { type: "button", class: "play" }, "Play");
  const clock = element("span", { class: "clock", role: "timer" }, "0.0 s");
  const go = element("button", { type: "button", class: "go" }, "Next");
  const hint = element("p", { class: "note", role: "status" });
  const began = Date.now();
  const fields = test.kind === "mushra" ? sliders(shown, (k) => choose(k, false)) : preference();
  sections.trial.replaceChildren(
    element("div", { class: "transport" }, play, clock),
    test.kind === "mushra" ? element("div", { class: "versions" }, buttons[0]) : element("div", { class: "versions" }, ...buttons),
    fields.box(buttons), hint, go,
  );

  function choose(k, start) {
    switcher.choose(k);
    buttons.forEach((button, number) => button.setAttribute("aria-pressed", String(number === k)));
    if (switcher.playing || start) heard.add(k);
    if (start && !switcher.playing) toggle();
    check();
  }
  async function toggle() {
    if (switcher.playing) switcher.pause();
    else {
      heard.add(switcher.chosen);
      await switcher.play();
    }
    tick();
    check();
  }
  function tick() {
    play.textContent = switcher.playing ? "Pause" : "Play";
    clock.textContent = `${switcher.time.toFixed(1)} s`;
    if (switcher.playing) requestAnimationFrame(tick);
  }
  function missing() {
    const unheard = buttons.map((_, k) => k).filter((k) => !heard.has(k));
    if (unheard.length) return `Still to be heard: ${unheard.map(name).join(", ")}`;
    return fields.missing();
  }
  function check() {
    const reason = missing();
    go.disabled = reason !== "";
    hint.textContent = reason;
  }
  function finish() {
    if (missing() !== "") return;
    answers.ratings.push({ trial: id, seconds: (Date.now() - began) / 1000, ...fields.result(shown) });
    keep();
    next();
  }
  play.addEventListener("click", toggle);
  go.addEventListener("click", finish);
  sections.trial.addEventListener("input", check);
  current = { switcher, choose: (k) => k < buttons.length && choose(k, true), toggle, finish, answer: fields.answer };
  check();
}

function sliders(shown, focused) {
  const inputs = shown.map((_, k) => {
    const input = element("input", { type: "range", min: "0", max: "100", value: "50", "aria-label": `Rating of version ${k + 1}` });
    input.addEventListener("focus", () => focused(k + 1));
    input.addEventListener("input", () => (input.dataset.moved = "yes"));
    return input;
  });
  return {
    box: (buttons) => element("div", { class: "ratings" }, ...inputs.map((input, k) => {
      const value = element("span", { "aria-hidden": "true" }, "–");
      input.addEventListener("input", () => {
        value.textContent = `${input.value}: ${SCALE[Math.min(4, Math.floor(input.value / 20))]}`;
        input.setAttribute("aria-valuetext", value.textContent);
      });
      return element("div", {}, buttons[k + 1], input, value);
    })),
    missing: () => {
      const left = inputs.filter((input) => !input.dataset.moved).length;
      return left ? `Still to be rated: ${left} of ${inputs.length}` : "";
    },
    result: () => ({ scores: Object.fromEntries(shown.map(({ id }, k) => [id, Number(inputs[k].value)])) }),
    answer: () => {},
  };
}
const SCALE = ["bad", "poor", "fair", "good", "excellent"];

function preference() {
  const labels = { a: "A is better", b: "B is better", "=": "No difference" };
  const radios = Object.entries(labels).map(([value, label]) => {
    const radio = element("input", { type: "radio", name: "preference", value });
    return [radio, element("label", {}, radio, label)];
  });
  const chosen = () => radios.find(([radio]) => radio.checked)?.[0].value;
  return {
    box: () => element("fieldset", {}, element("legend", {}, "Which would you rather listen to?"), ...radios.map(([, label]) => label)),
    missing: () => (chosen() ? "" : "Still to be answered"),
    result: (shown) => ({ versions: shown.map(({ id }) => id), preferred: { a: shown[0].id, b: shown[1].id, "=": null }[chosen()] }),
    answer: (key) => {
      const found = radios.find(([radio]) => radio.value === key)?.[0];
      found?.click();
      found?.dispatchEvent(new Event("input", { bubbles: true }));
    },
  };
}

document.addEventListener("keydown", (event) => {
  if (!current || event.ctrlKey || event.altKey || event.metaKey) return;
  const button = event.target.tagName === "BUTTON";
  if (event.key === " " && !button) current.toggle();
  else if (event.key === "r") current.choose(0);
  else if (/^[1-9]$/.test(event.key)) current.choose(Number(event.key));
  else if (["a", "b", "="].includes(event.key)) current.answer(event.key);
  else if (event.key === "Enter" && !button) current.finish();
  else return;
  event.preventDefault();
});

document.getElementById("save").addEventListener("click", () => {
  const ended = { ...answers, ended: new Date().toISOString() };
  const name = `${test.experiment}-${answers.listener}`.replace(/[^\p{L}\p{N}.=-]+/gu, "_");
  const file = new Blob([JSON.stringify(ended, null, 1)], { type: "application/json" });
  const link = element("a", { href: URL.createObjectURL(file), download: `${name}.json` });
  link.click();
});
