"use strict";

// Everything that is shown goes through textContent: nothing of a run becomes markup.
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat(9).filter((c) => c != null && c !== false).map((c) => (c instanceof Node ? c : String(c))));
  return element;
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const main = document.getElementById("main");
const live = document.getElementById("live");
const crumb = document.getElementById("crumb");
const enc = encodeURIComponent;
const number = (x) => Number.isFinite(x);
const percent = (x) => (number(x) ? (100 * x).toFixed(2) + "%" : "–");
const figure = (x) => (!number(x) ? "–" : x === 0 ? "0" : Math.abs(x) < 1e-3 || Math.abs(x) >= 1e6 ? x.toExponential(1) : String(+x.toPrecision(4)));
const time = (s) => (!number(s) ? "–" : s < 100 ? s.toFixed(1) + " s" : s < 6000 ? Math.floor(s / 60) + "m" + String(Math.floor(s % 60)).padStart(2, "0") + "s" : Math.floor(s / 3600) + "h" + String(Math.floor((s % 3600) / 60)).padStart(2, "0") + "m");
const words = (value) => (Array.isArray(value) ? value.map(words).join(" ") : typeof value === "string" ? value : JSON.stringify(value));
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const png = (base64) => "data:image/png;base64," + base64;

async function ask(path, options) {
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

function complain(error) {
  return h("p", { class: "error", role: "alert" }, error.message);
}

// ---- curves ----

let charts = [];

// A chart of lines [{name, x, y, dash}] that can be fed again; drag to zoom, double click to see everything.
function chart(title, axis, options) {
  const box = h("div", {});
  const place = h("section", { class: "chart", "aria-label": title }, h("h3", {}, title), box);
  const state = { lines: [], plot: null, log: false, made: "" };
  const make = () => {
    if (state.plot) state.plot.destroy();
    state.plot = null;
    if (!state.lines.length || !box.clientWidth) return;
    const ink = colour("--soft"), grid = { stroke: colour("--line"), width: 1 };
    const values = (_, ticks) => ticks.map((v) => (v == null ? "" : figure(v)));
    const series = state.lines.map((line, i) => ({
      label: line.name,
      stroke: colour("--c" + ((line.colour ?? i) % 6)),
      width: 2,
      dash: line.dash ? [6, 4] : undefined,
      spanGaps: true,
      points: { show: line.x.length < 3, size: 6 },
      value: (_, v) => (v == null ? "–" : options && options.share ? percent(v) : figure(v)),
    }));
    state.plot = new uPlot({
      width: box.clientWidth,
      height: Math.max(200, Math.min(300, Math.round(box.clientWidth * 0.55))),
      series: [{ label: axis, value: (_, v) => (v == null ? "–" : figure(v)) }, ...series],
      scales: { x: { time: false }, y: { distr: state.log ? 3 : 1 } },
      axes: [{ stroke: ink, grid, ticks: grid, values }, { stroke: ink, grid, ticks: grid, values, size: 60 }],
    }, data(), box);
  };
  const data = () => {
    const join = uPlot.join(state.lines.map((line) => [line.x, line.y.map((y) => (number(y) && (!state.log || y > 0) ? y : null))]));
    return join;
  };
  const self = {
    place,
    feed(lines, log) {
      const shape = lines.map((l) => l.name).join("\n") + log + lines.map((l) => l.x.length < 3).join();
      const same = state.plot && state.made === shape;
      Object.assign(state, { lines: lines.filter((l) => l.x.length), log, made: shape });
      place.hidden = !state.lines.length;
      if (same && state.lines.length) state.plot.setData(data());
      else make();
    },
    make,
  };
  charts.push(self);
  return self;
}

const remake = () => charts.forEach((c) => c.make());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", remake);
let resized;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(remake, 150); });

// yₜ = a·yₜ₋₁ + (1 − a)·xₜ, divided by what the weights add up to.
function smooth(values, a) {
  let sum = 0, weight = 0;
  return values.map((x) => {
    if (!number(x)) return null;
    sum = a * sum + (1 - a) * x;
    weight = a * weight + (1 - a);
    return sum / weight;
  });
}

function spark(values) {
  const all = values.filter(number);
  const label = all.length ? "test accuracy from " + percent(all[0]) + " to " + percent(all[all.length - 1]) : "no figures yet";
  const low = Math.min(...all), high = Math.max(...all), n = Math.max(1, all.length - 1);
  const at = (v, i) => `${(2 + (86 * i) / n).toFixed(1)},${(21 - (high > low ? (18 * (v - low)) / (high - low) : 9)).toFixed(1)}`;
  const path = all.length > 1 ? "M" + all.map(at).join("L") : all.length ? "M44,12h2" : "";
  return svg("svg", { class: "spark", viewBox: "0 0 90 24", role: "img", "aria-label": label }, svg("path", { d: path }));
}

// ---- the page of all runs ----

const ticked = new Set();

function runsPage() {
  document.title = "runs · cotangent";
  crumb.textContent = "runs";
  const table = h("div", { class: "wide" });
  const overlay = h("div", {});
  const differ = h("div", { class: "wide" });
  const accuracy = chart("Test accuracy", "epoch", { share: true }), loss = chart("Test loss", "epoch");
  overlay.append(h("h2", {}, "Ticked runs over each other"), h("div", { class: "charts" }, accuracy.place, loss.place), differ);
  const title = h("h1", {}, "Runs");
  main.replaceChildren(title, table, overlay);
  let before = "";
  const show = (found) => {
    const seen = JSON.stringify([found, [...ticked]]);
    if (seen === before) return;
    before = seen;
    title.textContent = "Runs in " + found.root;
    const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.run : null;
    const rows = found.runs.map((run) => h("tr", {},
      h("td", {}, h("input", {
        type: "checkbox", "aria-label": "compare " + run.name, "data-run": run.name, checked: ticked.has(run.name),
        onchange: (event) => { event.target.checked ? ticked.add(run.name) : ticked.delete(run.name); show(found); },
      })),
      h("td", {}, h("a", { href: "#/run/" + enc(run.name) }, run.name), run.name === found.latest ? h("small", {}, " latest") : null,
        run.damage.length ? h("div", {}, h("small", {}, run.damage.join("; "))) : null),
      h("td", {}, h("span", { class: "status " + run.status }, run.status.replace("_", " "))),
      h("td", {}, run.epochs ?? "–"), h("td", {}, percent(run.test_acc)), h("td", {}, percent(run.best)),
      h("td", {}, spark(run.accuracy)), h("td", {}, time(run.seconds)), h("td", {}, run.started.slice(0, 16).replace("T", " "))));
    const head = ["", "run", "status", "epochs", "test acc", "best", "accuracy", "time", "started"];
    table.replaceChildren(found.runs.length
      ? h("table", { class: "runs" }, h("thead", {}, h("tr", {}, head.map((t, i) => h("th", { scope: "col" }, i ? t : h("span", { class: "soft" }, "✓"))))), h("tbody", {}, rows))
      : h("p", {}, "No runs yet. ", h("code", {}, "cotangent train"), " makes one."));
    if (focused) table.querySelector(`[data-run="${CSS.escape(focused)}"]`)?.focus();
    const chosen = found.runs.filter((run) => ticked.has(run.name));
    overlay.hidden = !chosen.length;
    const lines = (key) => chosen.map((run, i) => ({ name: run.name, x: run.epoch, y: run[key], colour: i, dash: i % 12 > 5 }));
    accuracy.feed(lines("accuracy"), false);
    loss.feed(lines("loss"), true);
    const settings = chosen.map((run) => new Map(run.settings));
    const keys = [...new Set(settings.flatMap((s) => [...s.keys()]))].filter((k) => new Set(settings.map((s) => s.get(k))).size > 1);
    differ.replaceChildren(...(chosen.length > 1 ? [h("h2", {}, "Settings that differ"), keys.length
      ? h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "setting"), chosen.map((r) => h("th", { scope: "col" }, r.name)))),
          h("tbody", {}, keys.map((k) => h("tr", {}, h("th", { scope: "row" }, k), settings.map((s) => h("td", {}, s.get(k) ?? "–"))))))
      : h("p", {}, "None: they are the same.")] : []));
  };
  return { every: 2000, look: async () => { const found = await ask("/api/runs"); show(found); live.textContent = ""; } };
}

// ---- the pages of one run ----

const TABS = [["curves", "Curves"], ["model", "Model"], ["errors", "Errors"], ["draw", "Draw"], ["settings", "Settings"]];

function runPage(name, tab) {
  document.title = name + " · cotangent";
  crumb.replaceChildren(h("a", { href: "#/" }, "runs"), " / " + name);
  const tabs = h("nav", { class: "tabs", "aria-label": "Pages of the run" }, TABS.map(([key, title]) =>
    h("a", { href: `#/run/${enc(name)}/${key}`, "aria-current": key === tab ? "page" : false }, title)));
  const body = h("div", {});
  const notes = h("div", {});
  main.replaceChildren(h("h1", {}, name), tabs, notes, body);
  const page = { curves, model, errors, draw, settings }[tab](name, body);
  const run = { steps: null, after: "" };
  return {
    every: 1000,
    look: async () => {
      const found = await ask(`/api/run?name=${enc(name)}${run.after}`);
      // Only what is new of the steps is sent; a run that began anew is read again.
      if (run.steps && run.after) {
        for (const [key, values] of Object.entries(found.steps)) run.steps[key] = (run.steps[key] || []).concat(values);
      } else run.steps = found.steps;
      found.steps = run.steps;
      const newest = last(run.steps.step);
      if (number(newest) && !(found.newest >= newest)) {
        Object.assign(run, { steps: null, after: "" });
        return;
      }
      run.after = number(newest) ? "&after=" + newest : "";
      const status = found.status.replace("_", " ") + (number(last(found.epochs.epoch)) ? `, ${last(found.epochs.epoch)} epoch${last(found.epochs.epoch) === 1 ? "" : "s"}` : "");
      if (live.textContent !== status) live.textContent = status;
      notes.replaceChildren(...(found.reason ? [h("p", { class: "error" }, found.reason)] : []), ...(found.damage.length ? [h("p", { class: "error" }, "Missing or damaged: " + found.damage.join("; "))] : []));
      page(found);
    },
  };
}

const last = (values) => (values && values.length ? values[values.length - 1] : undefined);

function curves(_, body) {
  const tiles = h("ul", { class: "tiles" });
  const amount = h("input", { type: "range", min: "0", max: "0.98", step: "0.02", value: "0.6" });
  const log = h("input", { type: "checkbox", checked: true });
  const loss = chart("Loss by epoch", "epoch"), accuracy = chart("Accuracy by epoch", "epoch", { share: true });
  const steps = chart("Loss by step", "step"), rate = chart("Learning rate", "step"), speed = chart("Examples a second", "step");
  const told = h("pre", { "aria-label": "The run's last lines" });
  const numbers = h("div", { class: "wide" });
  body.append(tiles,
    h("div", { class: "tools" }, h("label", {}, "smoothing", amount), h("label", {}, log, "logarithmic loss"), h("small", {}, "drag across a chart to zoom, double click to zoom out")),
    h("div", { class: "charts" }, loss.place, accuracy.place, steps.place, rate.place, speed.place),
    h("details", {}, h("summary", {}, "The epochs as a table"), numbers), h("h2", {}, "Last lines"), told);
  let found = null;
  const show = () => {
    if (!found) return;
    const { epochs, steps: s } = found;
    const parts = (what) => [["train", 0, false], ["val", 2, true], ["test", 1, true]]
      .map(([part, colour, dash]) => ({ name: part, x: epochs.epoch || [], y: epochs[`${part}_${what}`] || [], colour, dash }))
      .filter((line) => line.y.some(number));
    loss.feed(parts("loss"), log.checked);
    accuracy.feed(parts("acc"), false);
    const a = +amount.value, x = s.step || [];
    steps.feed(x.length ? [{ name: "loss", x, y: smooth(s.loss, a), colour: 0 }] : [], log.checked);
    rate.feed(x.length ? [{ name: "rate", x, y: s.lr, colour: 3 }] : [], false);
    speed.feed(x.length ? [{ name: "examples/s", x, y: s.examples_per_second, colour: 2 }] : [], false);
    const seconds = (epochs.train_seconds || []).reduce((sum, t) => sum + (t || 0), 0);
    const facts = [[percent(last(epochs.test_acc)), "test accuracy"], [percent(last(epochs.test_macro_f1)), "test macro-F1"], [figure(last(epochs.test_loss)), "test loss"],
      [last(epochs.epoch) ?? "–", "epochs"], [time(seconds), "training steps"], [figure(last(s.examples_per_second)), "examples/s"]];
    tiles.replaceChildren(...facts.map(([value, title]) => h("li", {}, h("b", {}, value), h("small", {}, title))));
    const keys = Object.keys(epochs);
    numbers.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, keys.map((k) => h("th", { scope: "col" }, k.replaceAll("_", " "))))),
      h("tbody", {}, (epochs.epoch || []).map((_, i) => h("tr", {}, keys.map((k) => h("td", {}, /_(acc|f1)$/.test(k) ? percent(epochs[k][i]) : figure(epochs[k][i]))))))));
    told.textContent = found.log.map((line) => line.replace(/^\S+Z {2}/, "")).join("\n");
  };
  amount.addEventListener("input", show);
  log.addEventListener("change", show);
  return (run) => { found = run; show(); };
}

function bars({ limits, counts, low }, what) {
  const most = Math.max(1, ...counts), n = counts.length || 1;
  const label = `${what} from ${figure(low)} to ${figure(last(limits))}`;
  return h("div", {}, svg("svg", { class: "bars " + what, viewBox: "0 0 200 70", preserveAspectRatio: "none", role: "img", "aria-label": "histogram " + label },
    ...counts.map((c, i) => svg("rect", { x: (200 * i) / n, width: Math.max(0.5, 200 / n - 0.6), y: 70 - (68 * c) / most, height: (68 * c) / most }))), h("small", {}, label));
}

function model(name, body) {
  const list = h("ul", { class: "layers" });
  const summary = h("pre", {});
  const ratio = chart("Update-to-weight ratio by epoch", "epoch");
  const slider = h("input", { type: "range", min: "0", max: "0", value: "0", "aria-label": "epoch of the histograms" }), chosen = h("output", {});
  const tools = h("div", { class: "tools" }, h("label", {}, "histograms after epoch", slider, chosen));
  body.append(h("h2", {}, "Layers"), summary, h("div", { class: "charts" }, ratio.place),
    h("p", { class: "soft" }, "How long a step is beside the weights that it changes, ‖Δw‖/‖w‖: about 0.001 is usual; far more jumps, far less stands still."),
    h("h2", {}, "Weights and gradients"), h("p", { class: "soft" }, "Filters: black is the most negative weight, white the most positive, grey is 0. Below, how the weights are spread, and their gradients for the epoch's last batch."), tools, list);
  let version = null, layers = [];
  const show = () => {
    const epochs = (layers.find((l) => l.epochs) || { epochs: [] }).epochs, i = +slider.value;
    chosen.textContent = epochs.length ? String(epochs[i].epoch) : "";
    for (const layer of layers) {
      const then = layer.epochs && layer.epochs[i];
      layer.place.replaceChildren(...(then ? [bars(then.weights, "weights"), ...(then.gradients.counts.length ? [bars(then.gradients, "gradients")] : []), h("small", {}, "update/weight " + figure(then.ratio))] : [bars(layer, "weights")]));
    }
  };
  slider.addEventListener("input", show);
  return async (run) => {
    summary.textContent = run.model;
    const newest = String(last(run.epochs.epoch)) + run.status;
    if (newest === version) return;
    version = newest;
    try {
      const atEnd = slider.value === slider.max;
      const found = await ask("/api/layers?name=" + enc(name));
      layers = found.layers;
      // The figures of an epoch are written a moment before its weights.
      if (found.epoch < last(run.epochs.epoch)) version = null;
      const told = layers.filter((layer) => layer.epochs), n = Math.max(1, ...told.map((layer) => layer.epochs.length));
      slider.max = String(n - 1);
      if (atEnd) slider.value = slider.max;
      tools.hidden = n < 2;
      ratio.feed(told.filter((layer) => layer.shape.length > 1).map((layer, k) => ({ name: layer.name, x: layer.epochs.map((e) => e.epoch), y: layer.epochs.map((e) => e.ratio), colour: k, dash: k % 12 > 5 })), true);
      list.replaceChildren(...layers.map((layer) => h("li", {}, h("h3", {}, layer.name), h("small", {}, layer.shape.join(" × ") + " weights"),
        layer.sheet ? h("img", { class: "sheet", alt: "filters of " + layer.name, src: png(layer.sheet), width: layer.width, height: layer.height }) : null,
        (layer.place = h("div", {})))));
      show();
    } catch (error) { list.replaceChildren(h("li", {}, complain(error))); }
  };
}

function errors(name, body) {
  const table = h("div", {}), opened = h("div", { "aria-live": "polite" }), worst = h("div", {}), classes = h("div", {});
  body.append(table, opened, classes, worst);
  let version = null, chosen = null;
  return (run) => {
    const found = run.evaluation;
    if (!found) { table.replaceChildren(h("p", {}, "Nothing was evaluated yet: that happens after each epoch.")); return; }
    const newest = JSON.stringify([found.epoch, found.confusion, found.mistakes.length]);
    if (newest === version) return;
    version = newest;
    const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.cell : null;
    const names = found.classes;
    const picture = (index, lines) => h("li", {}, h("img", { alt: "test example " + index, loading: "lazy", src: `/api/picture?name=${enc(name)}&index=${index}` }), lines);
    const open = async (truth, predicted, from, button) => {
      chosen = button;
      table.querySelectorAll("button").forEach((b) => b.setAttribute("aria-pressed", b === button));
      try {
        const { total, indices } = await ask(`/api/cell?name=${enc(name)}&truth=${truth}&predicted=${predicted}&from=${from}`);
        const more = from + indices.length < total ? h("p", {}, h("button", { onclick: () => open(truth, predicted, from + indices.length, button) }, "The next ones")) : null;
        const words = truth === predicted ? `${names[truth]}, and rightly so` : `${names[truth]} taken for ${names[predicted]}`;
        opened.replaceChildren(h("h2", {}, words, h("small", {}, ` ${indices.length ? from + 1 : 0}–${from + indices.length} of ${total}`)),
          h("ul", { class: "gallery" }, indices.map((i) => picture(i, h("small", {}, "no. " + i)))), ...(more ? [more] : []));
      } catch (error) { opened.replaceChildren(complain(error)); }
    };
    const rows = found.confusion.map((row, i) => {
      const all = row.reduce((a, b) => a + b, 0) || 1;
      return h("tr", {}, h("th", { scope: "row" }, names[i]), row.map((count, j) => {
        if (!count) return h("td", {}, h("span", { class: "soft", "aria-label": "0" }, "·"));
        const share = Math.sqrt(count / all), strength = Math.round(100 * (i === j ? share * 0.6 : Math.min(0.85, Math.max(0.12, share * 1.5))));
        const button = h("button", { "data-cell": i + "," + j, "aria-pressed": "false", "aria-label": `${count} of class ${names[i]} taken for ${names[j]}`, disabled: !found.listed }, count);
        button.style.background = `color-mix(in srgb, var(--c${i === j ? 0 : 1}) ${strength}%, var(--paper))`;
        button.addEventListener("click", () => open(i, j, 0, button));
        return h("td", {}, button);
      }));
    });
    table.replaceChildren(h("h2", {}, "Which class was taken for which"),
      h("p", { class: "soft" }, `On the test examples after ${found.epoch} epoch${found.epoch === 1 ? "" : "s"}. Rows are the truth, columns what was predicted; a cell opens its pictures.`),
      h("div", { class: "wide" }, h("table", { class: "confusion" }, h("thead", {}, h("tr", {}, h("td", {}), names.map((n) => h("th", { scope: "col" }, n)))), h("tbody", {}, rows))));
    if (focused) table.querySelector(`[data-cell="${focused}"]`)?.focus();
    classes.replaceChildren(h("h2", {}, "By class"), h("div", { class: "wide" }, h("table", {}, h("thead", {}, h("tr", {}, ["class", "examples", "precision", "recall", "F1"].map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", {}, found.by_class.map((c, i) => h("tr", {}, h("th", { scope: "row" }, names[i]), h("td", {}, c.examples), h("td", {}, percent(c.precision)), h("td", {}, percent(c.recall)), h("td", {}, percent(c.f1))))))));
    worst.replaceChildren(...(found.mistakes.length ? [h("h2", {}, "The worst mistakes"), h("ul", { class: "gallery" }, found.mistakes.map((m) =>
      h("li", {}, m.png ? h("img", { alt: "test example " + (m.name || m.index), src: png(m.png) }) : null, h("b", {}, names[m.truth]), " taken for ", h("b", {}, names[m.predicted]), " ", h("small", {}, `${Math.round(100 * m.probability)}% · ${m.name || "no. " + m.index}`))))] : []));
  };
}

// ---- drawing ----

// The drawing as the network's data sets have it: its box fitted into 20/28 of the picture, its centre of mass in the middle.
function prepared(pad, height, width) {
  const { data } = pad.getContext("2d").getImageData(0, 0, pad.width, pad.height);
  let left = pad.width, top = pad.height, right = -1, bottom = -1, mass = 0, mx = 0, my = 0;
  for (let y = 0; y < pad.height; y++) for (let x = 0; x < pad.width; x++) {
    const v = data[4 * (y * pad.width + x)];
    if (v < 20) continue;
    left = Math.min(left, x); right = Math.max(right, x); top = Math.min(top, y); bottom = Math.max(bottom, y);
    mass += v; mx += v * x; my += v * y;
  }
  const small = new OffscreenCanvas(width, height), to = small.getContext("2d", { willReadFrequently: true });
  to.fillStyle = "#000";
  to.fillRect(0, 0, width, height);
  if (right >= left) {
    const w = right - left + 1, hgt = bottom - top + 1;
    const scale = Math.min((width * 20) / 28 / w, (height * 20) / 28 / hgt);
    const cx = mx / mass - left, cy = my / mass - top;
    to.imageSmoothingQuality = "high";
    // In two steps: one large step down skips pixels.
    const half = new OffscreenCanvas(Math.max(1, Math.round(w * scale * 3)), Math.max(1, Math.round(hgt * scale * 3)));
    const via = half.getContext("2d");
    via.imageSmoothingQuality = "high";
    via.drawImage(pad, left, top, w, hgt, 0, 0, half.width, half.height);
    to.drawImage(half, 0, 0, half.width, half.height, width / 2 - cx * scale, height / 2 - cy * scale, w * scale, hgt * scale);
  }
  const pixels = to.getImageData(0, 0, width, height).data;
  return { drawn: right >= left, pixels: Array.from({ length: width * height }, (_, i) => Math.round((1000 * pixels[4 * i]) / 255) / 1000) };
}

function draw(name, body) {
  const pad = h("canvas", { class: "pad", width: "280", height: "280", tabindex: "0", role: "img", "aria-label": "Drawing pad. Draw with the pointer; with the keyboard move the pen with the arrow keys, lower or raise it with Space, clear with Escape." });
  const pen = pad.getContext("2d", { willReadFrequently: true });
  const guess = h("ul", { class: "probabilities" }), maps = h("ul", { class: "layers" }), state = h("p", { role: "status", class: "soft" }, "Draw something.");
  const clear = h("button", { onclick: () => wipe() }, "Clear");
  body.append(h("div", { class: "try" }, h("div", {}, h("h2", {}, "Draw here"), pad, h("div", { class: "tools" }, clear),
    h("small", {}, "By keyboard: arrow keys move the pen, Space lowers or raises it, Escape clears.")), h("div", {}, h("h2", {}, "What the network takes it for"), state, guess)),
    h("h2", {}, "What every layer makes of it"), maps);
  let size = null, asked = false, again = false, wiped = 0, at = null, down = false, pen_at = [140, 140];
  const wipe = () => { wiped++; pen.fillStyle = "#000"; pen.fillRect(0, 0, 280, 280); guess.replaceChildren(); maps.replaceChildren(); state.textContent = "Draw something."; down = false; };
  const line = (from, to) => {
    pen.strokeStyle = "#fff"; pen.lineWidth = 20; pen.lineCap = "round"; pen.lineJoin = "round";
    pen.beginPath(); pen.moveTo(...from); pen.lineTo(to[0] + 0.01, to[1]); pen.stroke();
    look();
  };
  const place = (event) => { const box = pad.getBoundingClientRect(); return [((event.clientX - box.left) * 280) / box.width, ((event.clientY - box.top) * 280) / box.height]; };
  pad.addEventListener("pointerdown", (event) => { pad.setPointerCapture(event.pointerId); at = place(event); line(at, at); event.preventDefault(); pad.focus({ preventScroll: true }); });
  pad.addEventListener("pointermove", (event) => { if (at) for (const e of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) { const to = place(e); line(at, to); at = to; } });
  for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, () => { at = null; });
  pad.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[event.key];
    if (step) {
      const to = [Math.min(270, Math.max(10, pen_at[0] + step[0])), Math.min(270, Math.max(10, pen_at[1] + step[1]))];
      if (down) line(pen_at, to);
      pen_at = to;
    } else if (event.key === " ") { down = !down; if (down) line(pen_at, pen_at); state.textContent = down ? "The pen is down." : "The pen is up."; } else if (event.key === "Escape") wipe();
    else return;
    event.preventDefault();
  });
  // One question at a time; what was drawn meanwhile is asked afterwards.
  const look = async () => {
    if (!size) return;
    if (asked) { again = true; return; }
    asked = true;
    try {
      const { drawn, pixels } = prepared(pad, size[0], size[1]), then = wiped;
      const found = drawn && (await ask("/api/draw?name=" + enc(name), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(pixels) }));
      // What was wiped away meanwhile is no answer any more.
      if (found && then === wiped) show(found);
    } catch (error) { guess.replaceChildren(h("li", {}, complain(error))); }
    asked = false;
    if (again) { again = false; requestAnimationFrame(look); }
  };
  const show = (found) => {
    const best = found.probabilities.indexOf(Math.max(...found.probabilities));
    state.textContent = `${found.classes[best]}, with ${percent(found.probabilities[best])}`;
    guess.replaceChildren(...found.probabilities.map((p, i) => {
      const bar = h("i", {});
      bar.style.width = (100 * p).toFixed(2) + "%";
      return h("li", { class: i === best ? "top" : "" }, h("span", {}, found.classes[i]), h("span", { class: "meter", "aria-hidden": "true" }, bar), h("span", {}, percent(p)));
    }));
    maps.replaceChildren(...found.layers.map((layer) => h("li", {}, h("h3", {}, layer.name || "network"), h("small", {}, `${layer.describe} → ${layer.shape.join(" × ")}`),
      h("img", { class: "sheet", alt: `output of ${layer.name || "the network"}`, src: png(layer.sheet), width: layer.width, height: layer.height }))));
  };
  wipe();
  return async () => {
    if (size) return;
    try { const { input } = await ask("/api/layers?name=" + enc(name)); size = [input[1], input[2]]; look(); } catch (error) { state.textContent = error.message; }
  };
}

function settings(name, body) {
  const facts = h("dl", {}), config = h("pre", {}), resume = h("pre", { tabindex: "0" });
  body.append(h("h2", {}, "Go on with this run"), resume, h("p", {}, h("a", { class: "button", href: "/report?name=" + enc(name) }, "Report as one page")), h("h2", {}, "Where and how it ran"), facts, h("h2", {}, "Settings"), config);
  return (run) => {
    const quoted = /^[\w./:=@%+,-]+$/.test(run.path) ? run.path : `'${run.path.replaceAll("'", "'\\''")}'`;
    resume.textContent = "cotangent train --resume " + quoted;
    facts.replaceChildren(...Object.entries(run.record).filter(([, v]) => v != null).map(([k, v]) => h("div", {}, h("dt", {}, k.replaceAll("_", " ")), h("dd", {}, words(v)))));
    config.textContent = run.config;
  };
}

// ---- which page ----

let turn = 0;

async function go() {
  const mine = ++turn;
  charts = [];
  const [, kind, name, tab] = location.hash.split("/");
  const known = TABS.some(([key]) => key === tab);
  const page = kind === "run" && name ? runPage(decodeURIComponent(name), known ? tab : "curves") : runsPage();
  main.focus({ preventScroll: true });
  let failed = 0;
  while (mine === turn) {
    if (!document.hidden) {
      try { await page.look(); if (failed) live.textContent = ""; failed = 0; } catch (error) {
        failed++;
        if (mine === turn && failed > 1) live.textContent = error instanceof TypeError ? "the program has ended; this is the last it said" : error.message;
      }
    }
    await new Promise((wake) => setTimeout(wake, page.every * Math.min(8, 1 + failed)));
  }
}

addEventListener("hashchange", go);
go();
